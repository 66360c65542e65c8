"""Standard MIDI files from arrays of events: what the generated pieces of the bench corpus are written with.

Not :meth:`midigpt_core.score.Score.to_bytes`: a reader should meet what real files hold and a score does not,
running status, controllers, pitch bend, notes ended by velocity 0, and any number of ticks per quarter.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NOTE_ON, NOTE_OFF, CONTROLLER, PROGRAM, PITCH_BEND = 0x90, 0x80, 0xB0, 0xC0, 0xE0
_END_OF_TRACK = b"\x00\xff\x2f\x00"
_VARLEN_BYTES = 4
# Bytes of data after a status byte, by its high four bits; program change is the only one here with a single one.
_ONE_BYTE = PROGRAM


@frozen(eq=False)
class Events:
    """Channel events of one track, in any order; where ticks are equal they keep the order given."""

    tick: NDArray[np.int64]
    status: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    @classmethod
    def join(cls, parts: Sequence[tuple[Any, Any, Any, Any]]) -> Events:
        """Of parts (tick, status, first, second), arrays or single values."""
        columns = zip(*(np.broadcast_arrays(*part) for part in parts), strict=True)
        return cls(*(np.concatenate([np.atleast_1d(part).astype(np.int64) for part in column]) for column in columns))


def track(events: Events, name: bytes, *, running_status: bool) -> bytes:
    """An MTrk chunk."""
    order = np.argsort(events.tick, kind="stable")
    tick, status = events.tick[order], events.status[order]
    delta = _varlen(np.diff(tick, prepend=0))
    data = np.stack([status, events.first[order], events.second[order]], axis=1).astype(np.uint8)
    is_written = np.ones(data.shape, np.bool_)
    is_written[:, 2] = (status & 0xF0) != _ONE_BYTE
    if running_status:
        is_written[1:, 0] = status[1:] != status[:-1]
    rows = np.concatenate([delta, data], axis=1)
    keep = np.concatenate([_varlen_is_written(delta), is_written], axis=1)
    return _chunk(b"MTrk", _meta(0x03, name) + rows[keep].tobytes() + _END_OF_TRACK)


def conductor(signatures: Sequence[tuple[int, int, int]], tempo: int) -> bytes:
    """The first MTrk chunk: time signatures (tick, numerator, denominator), ascending, and one tempo in µs."""
    content = _meta(0x51, tempo.to_bytes(3, "big"))
    before = 0
    for tick, numerator, denominator in signatures:
        signature = bytes([numerator, denominator.bit_length() - 1, 24, 8])
        content += _meta(0x58, signature, delta=tick - before)
        before = tick
    return _chunk(b"MTrk", content + _END_OF_TRACK)


def join(chunks: Sequence[bytes], ticks_per_quarter: int) -> bytes:
    """A file of format 1."""
    return _chunk(b"MThd", struct.pack(">HHH", 1, len(chunks), ticks_per_quarter)) + b"".join(chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack(">I", len(content)) + content


def _meta(kind: int, content: bytes, delta: int = 0) -> bytes:
    varlen = _varlen(np.array([delta]))
    return varlen[_varlen_is_written(varlen)].tobytes() + bytes([0xFF, kind, len(content)]) + content


def _varlen(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    """uint8[n, 4]: seven bits a byte, the highest first, all but the last marked by their top bit."""
    shifts = 7 * np.arange(_VARLEN_BYTES - 1, -1, -1)
    groups = (values[:, None] >> shifts) & 0x7F
    groups[:, :-1] |= 0x80
    return groups.astype(np.uint8)


def _varlen_is_written(groups: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Without leading zeros; the last byte always."""
    is_written = np.maximum.accumulate(groups & 0x7F, axis=1) > 0
    is_written[:, -1] = True
    return is_written
