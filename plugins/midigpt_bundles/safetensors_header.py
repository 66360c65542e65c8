"""The header of format 2 (:mod:`midigpt_bundles.safetensors`), read without torch."""

from __future__ import annotations

import struct
from math import prod
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from midigpt_bundles import fields
from midigpt_core.checkpoint.plain import parse_json
from midigpt_core.config.wording import spell
from midigpt_core.errors import CheckpointError
from midigpt_core.files import open_regular

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

    from midigpt_core.contracts import BundleHeader, FormatContext

FORMAT_VERSION = "2"

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


class SafetensorsHeaders:
    """Satisfies :class:`midigpt_core.contracts.HeaderReader`."""

    def matches(self, path: Path) -> bool:
        with open_regular(path) as stream:
            return stream.read(9)[8:] == b"{" or path.suffix == ".safetensors"

    def read_header(self, path: Path) -> BundleHeader:
        with open_regular(path) as stream:
            return described(path, stream)[0]


def build(_options: None, _context: FormatContext) -> SafetensorsHeaders:
    return SafetensorsHeaders()


def read_entries(path: Path, stream: BufferedReader) -> tuple[dict[str, str], dict[str, Entry]]:
    """The metadata and every tensor's place, all checked against the file, no tensor read."""
    header, start = _read_json_header(path, stream)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _refused(path, "its metadata is not a mapping of text to text")
    size = stream.seek(0, 2) - start
    entries: dict[str, Entry] = {}
    places: list[tuple[int, int, str]] = []
    for name, value in header.items():
        dtype, itemsize, shape, (first, end) = _entry_fields(path, name, value)
        if end - first != prod(shape) * itemsize:
            raise _refused(path, f"tensor {name[:80]!r} of shape {shape} takes {end - first} bytes")
        entries[name] = Entry(dtype, shape, start + first)
        places.append((first, end, name))
    reached = 0
    for first, end, name in sorted(places):
        if first != reached:
            raise _refused(path, f"tensor {name[:80]!r} leaves a hole or overlaps another")
        reached = end
    if reached != size:
        raise CheckpointError(f"{path}: its tensors take {reached} bytes, the file has {size}: cut short. {AGAIN}")
    return metadata, entries


def described(path: Path, stream: BufferedReader) -> tuple[BundleHeader, dict[str, Entry]]:
    """The header and the tensors that the file describes, checked, none of them read."""
    metadata, entries = read_entries(path, stream)
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format_version is {spell(version)}, this reader knows {FORMAT_VERSION!r}. "
            "Update midigpt-core, or convert the file with the version that wrote it."
        )
    parsed = {
        key: parse_json(path, key, metadata[key])
        for key in ("config", "encoder_config", fields.OURS)
        if key in metadata
    }
    header = fields.header_of(
        path,
        arch=metadata.get("arch"),
        config=parsed.get("config"),
        encoder_config=parsed.get("encoder_config"),
        ours=parsed.get(fields.OURS),
    )
    fields.check_shapes(path, header, {name: entry.shape for name, entry in entries.items()})
    return evolve(header, stored_numbers=sum(prod(entry.shape) for entry in entries.values())), entries


def _read_json_header(path: Path, stream: BufferedReader) -> tuple[dict[str, Any], int]:
    """The parsed header, and where the tensors begin."""
    prefix = stream.read(LENGTH.size)
    if len(prefix) < LENGTH.size:
        raise CheckpointError(f"{path}: {len(prefix)} bytes are no safetensors file. {AGAIN}")
    (length,) = LENGTH.unpack(prefix)
    if length > _MAX_HEADER_BYTES:
        raise _refused(path, f"its header claims {length} bytes, the limit is {_MAX_HEADER_BYTES}")
    text = stream.read(length)
    if len(text) < length:
        raise CheckpointError(f"{path}: its header is cut short. {AGAIN}")
    header = parse_json(path, "its header", text)
    if not isinstance(header, dict):
        raise _refused(path, "its header is not a mapping")
    if len(header) > _MAX_TENSORS + 1:
        raise _refused(path, f"it has {len(header)} tensors, the limit is {_MAX_TENSORS}")
    return header, LENGTH.size + length


def _entry_fields(path: Path, name: str, value: object) -> tuple[str, int, tuple[int, ...], tuple[int, int]]:
    match value:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [first, end], **rest} if (
            dtype in DTYPES and len(shape) <= _MAX_DIMENSIONS and not rest
        ):
            if all(type(number) is int and 0 <= number < 1 << 48 for number in (*shape, first, end)):
                return *DTYPES[dtype], tuple(shape), (first, end)
    raise _refused(path, f"tensor {name[:80]!r} has no proper dtype, shape and data_offsets")


def _refused(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: refused: {what}. {AGAIN}")
