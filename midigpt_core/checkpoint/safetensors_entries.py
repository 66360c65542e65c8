"""Safetensors files without torch: the metadata, and each tensor's type, shape and place, checked against the file.

Eight bytes give the length of a JSON header, the header gives each tensor's type, shape and place, the rest is their
bytes. Source: the format's description in the safetensors project. The header's ``__metadata__`` maps text to text.

Reading and writing (:mod:`midigpt_core.checkpoint.safetensors_data`) are done here rather than by the safetensors
package: its writer orders metadata at random, so that equal weights give different bytes, and its reader accepts
headers of up to 100 MB.
"""

from __future__ import annotations

import struct
from math import prod
from typing import TYPE_CHECKING, Any

from attrs import frozen

from midigpt_core.checkpoint.plain import parse_json
from midigpt_core.errors import CheckpointError

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

#: A 48-layer GPT-2 with its encoder and provenance needs 0.2 MiB, and has 581 tensors.
_MAX_HEADER_BYTES = 1 << 20
_MAX_TENSORS = 4096
_MAX_DIMENSIONS = 8
METADATA = "__metadata__"
LENGTH = struct.Struct("<Q")
#: Names in the file: the dtype's name in torch, and the bytes of one number.
DTYPES = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}
AGAIN = "Copy the file again from where it came, or choose another."


@frozen
class Entry:
    """A tensor in the file."""

    #: The dtype's name in torch.
    dtype: str
    shape: tuple[int, ...]
    #: First byte, counted from the start of the file.
    start: int


def read_entries(path: Path, stream: BufferedReader) -> tuple[dict[str, str], dict[str, Entry]]:
    """The metadata and every tensor's place, all checked against the file, no tensor read."""
    header, start = _read_json_header(path, stream)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise refused(path, "its metadata is not a mapping of text to text")
    size = stream.seek(0, 2) - start
    entries: dict[str, Entry] = {}
    places: list[tuple[int, int, str]] = []
    for name, value in header.items():
        dtype, itemsize, shape, (first, end) = _entry_fields(path, name, value)
        if end - first != prod(shape) * itemsize:
            raise refused(path, f"tensor {name[:80]!r} of shape {shape} takes {end - first} bytes")
        entries[name] = Entry(dtype, shape, start + first)
        places.append((first, end, name))
    reached = 0
    for first, end, name in sorted(places):
        if first != reached:
            raise refused(path, f"tensor {name[:80]!r} leaves a hole or overlaps another")
        reached = end
    if reached != size:
        raise CheckpointError(f"{path}: its tensors take {reached} bytes, the file has {size}: cut short. {AGAIN}")
    return metadata, entries


def _read_json_header(path: Path, stream: BufferedReader) -> tuple[dict[str, Any], int]:
    """The parsed header, and where the tensors begin."""
    prefix = stream.read(LENGTH.size)
    if len(prefix) < LENGTH.size:
        raise CheckpointError(f"{path}: {len(prefix)} bytes are no safetensors file. {AGAIN}")
    (length,) = LENGTH.unpack(prefix)
    if length > _MAX_HEADER_BYTES:
        raise refused(path, f"its header claims {length} bytes, the limit is {_MAX_HEADER_BYTES}")
    text = stream.read(length)
    if len(text) < length:
        raise CheckpointError(f"{path}: its header is cut short. {AGAIN}")
    header = parse_json(path, "its header", text)
    if not isinstance(header, dict):
        raise refused(path, "its header is not a mapping")
    if len(header) > _MAX_TENSORS + 1:
        raise refused(path, f"it has {len(header)} tensors, the limit is {_MAX_TENSORS}")
    return header, LENGTH.size + length


def _entry_fields(path: Path, name: str, value: object) -> tuple[str, int, tuple[int, ...], tuple[int, int]]:
    match value:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [first, end], **rest} if (
            dtype in DTYPES and len(shape) <= _MAX_DIMENSIONS and not rest
        ):
            if all(type(number) is int and 0 <= number < 1 << 48 for number in (*shape, first, end)):
                return *DTYPES[dtype], tuple(shape), (first, end)
    raise refused(path, f"tensor {name[:80]!r} has no proper dtype, shape and data_offsets")


def refused(path: Path, what: str) -> CheckpointError:
    """The error for a file that contradicts itself or the format."""
    return CheckpointError(f"{path}: refused: {what}. {AGAIN}")
