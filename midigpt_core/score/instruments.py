"""Gives tracks of a MIDI file other instruments: their program changes are replaced, every other byte stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_CHUNK = b"MTrk"
_HEADER_BYTES = 8
_META, _PORT, _LYRIC, _END_OF_TRACK, _SEQUENCER_SPECIFIC = 0xFF, 0x21, 0x05, 0x2F, 0x7F
#: Of the event that keeps a track without notes (csrc/midi/silent_track.h); channel and program follow.
_SILENT_TRACK = b"\x7dmidigpt"
_LYRIC_CHANNEL = 15
#: Data bytes of system messages; the exclusive one says its length.
_SYSTEM_SIZES = {0xF1: 1, 0xF2: 2, 0xF3: 1}
_LARGEST_NUMBER_BYTES = 4


@define(eq=False)
class _Chunk:
    """What the programs of one MTrk chunk depend on. Places are offsets in the file."""

    begin: int
    port: int = 0
    #: (channel, program) of its tracks: each pair that has a note, lyrics, or the event that keeps a silent track.
    tracks: set[tuple[int, int]] = field(factory=set)
    #: The data byte of each program, by (channel, program).
    programs: dict[tuple[int, int], list[int]] = field(factory=dict)
    #: Channels that play before any program change, so with program 0.
    before_any: set[int] = field(factory=set)


def with_programs(content: bytes, before: Sequence[int], after: Sequence[int]) -> tuple[bytes, list[tuple[int, ...]]]:
    """``content``, a MIDI file that is read as tracks of the programs ``before``, with the programs ``after``.

    Also returns the groups of tracks that share a channel of a port with different programs, where one of these is
    new. A track whose channel has no program change gets one at the start of its chunk. Raises ValueError with one
    clause where a file cannot represent that.
    """
    chunks = list(_chunks(content))
    tracks = [(number, *pair) for number, chunk in enumerate(chunks) for pair in sorted(chunk.tracks)]
    if [program for _, _, program in tracks] != list(before):
        raise ValueError("its tracks cannot be told apart by channel and program")
    changed = dict(zip(tracks, after, strict=True))
    if len({(chunk, channel, changed[chunk, channel, old]) for chunk, channel, old in tracks}) < len(tracks):
        raise ValueError("two of its tracks would have one instrument on one channel, which makes them one track")
    made = bytearray(content)
    inserted: dict[int, bytes] = {}
    for (number, channel, old), new in changed.items():
        if new == old:
            continue
        chunk = chunks[number]
        for place in chunk.programs.get((channel, old), ()):
            made[place] = new
        if old == 0 and channel in chunk.before_any:
            inserted[number] = inserted.get(number, b"") + bytes([0, 0xC0 | channel, new])
    # From the last chunk on, so that the places of the others stay as they are.
    for number in sorted(inserted, reverse=True):
        begin = chunks[number].begin
        length = int.from_bytes(made[begin - 4 : begin], "big") + len(inserted[number])
        made[begin - 4 : begin] = length.to_bytes(4, "big")
        made[begin:begin] = inserted[number]
    return bytes(made), _sharing(chunks, tracks, changed)


def _sharing(
    chunks: Sequence[_Chunk], tracks: Sequence[tuple[int, int, int]], changed: Mapping[tuple[int, int, int], int]
) -> list[tuple[int, ...]]:
    """Groups of tracks on one channel of a port, of different programs, one of which is new."""
    groups: dict[tuple[int, int], list[int]] = {}
    for number, (chunk, channel, _) in enumerate(tracks):
        groups.setdefault((chunks[chunk].port, channel), []).append(number)
    return [
        tuple(group)
        for group in groups.values()
        if len({changed[tracks[number]] for number in group}) > 1
        and any(changed[tracks[number]] != tracks[number][2] for number in group)
    ]


def _chunks(content: bytes) -> Iterator[_Chunk]:
    at = _HEADER_BYTES + int.from_bytes(content[4:8], "big")
    announced = int.from_bytes(content[10:12], "big")
    while at + _HEADER_BYTES <= len(content) and announced:
        size = int.from_bytes(content[at + 4 : at + 8], "big")
        begin = at + _HEADER_BYTES
        # As the reader counts: chunks of other kinds are not announced.
        if content[at : at + 4] == _CHUNK:
            announced -= 1
            yield _chunk(content, begin, begin + size)
        at = begin + size


def _chunk(content: bytes, begin: int, end: int) -> _Chunk:
    found = _Chunk(begin)
    current = [0] * 16
    set_by_change = [False] * 16
    at, status, system_size = begin, 0, 0

    def plays(channel: int) -> None:
        found.tracks.add((channel, current[channel]))
        if not set_by_change[channel]:
            found.before_any.add(channel)

    while at < min(end, len(content)):
        _, at = _number(content, at)
        if content[at] == _META:
            kind = content[at + 1]
            size, at = _number(content, at + 2)
            data = content[at : at + size]
            if kind == _LYRIC and size:
                plays(_LYRIC_CHANNEL)
            elif kind == _PORT and size:
                found.port = data[0]
            elif kind == _SEQUENCER_SPECIFIC and data[:8] == _SILENT_TRACK and size >= len(_SILENT_TRACK) + 2:
                channel, program = data[8], data[9]
                if channel < 16 and program < 128:
                    found.tracks.add((channel, program))
                    found.programs.setdefault((channel, program), []).append(at + 9)
            elif kind == _END_OF_TRACK:
                break
            at += size
            continue
        if content[at] >= 0x80:
            status, at = content[at], at + 1
            if status == 0xF0:
                length, after = _number(content, at)
                system_size = after - at + length
            elif status > 0xF0:
                system_size = _SYSTEM_SIZES.get(status, 0)
        if status >= 0xF0:
            at += system_size
            continue
        kind, channel = status & 0xF0, status & 0x0F
        if kind == 0xC0:
            current[channel], set_by_change[channel] = content[at], True
            found.programs.setdefault((channel, content[at]), []).append(at)
        elif kind == 0x90 and content[at + 1]:
            plays(channel)
        at += 1 if kind in (0xC0, 0xD0) else 2
    return found


def _number(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for _ in range(_LARGEST_NUMBER_BYTES):
        byte = content[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value, at
