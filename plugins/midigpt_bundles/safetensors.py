"""Format 2: ``model.safetensors``.

Eight bytes give the length of a JSON header, the header gives each tensor's type, shape and place, the rest is their
bytes. Source: the format's description in the safetensors project. The header's ``__metadata__`` maps text to text:
``format_version``, ``arch``, ``config`` and ``encoder_config`` (both JSON), and what only midigpt-core reads.

Reading and writing are done here rather than by the safetensors package: its writer orders metadata by chance, so that
equal weights give unequal bytes, and its reader accepts a header of 100 MB before it says no.
"""

from __future__ import annotations

import json
import struct
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen

from midigpt_bundles import fields
from midigpt_core.checkpoint.assemble import with_weights
from midigpt_core.checkpoint.plain import parse_json
from midigpt_core.errors import CheckpointError
from midigpt_core.files import atomic_writer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BufferedReader
    from pathlib import Path

    from torch import Tensor

    from midigpt_core.contracts import Bundle, BundleHeader, FormatContext

FORMAT_VERSION = "2"

#: A 48-layer GPT-2 with its encoder and provenance needs 0.2 MiB, and has 581 tensors.
_MAX_HEADER_BYTES = 1 << 20
_MAX_TENSORS = 4096
_MAX_DIMENSIONS = 8
_METADATA = "__metadata__"
_LENGTH = struct.Struct("<Q")
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_AGAIN = "Copy the file again from where it came, or choose another."


@frozen
class Entry:
    """A tensor in the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    #: First byte, counted from the start of the file.
    start: int


class SafetensorsFormat:
    """Satisfies :class:`midigpt_core.contracts.CheckpointFormat`."""

    def matches(self, path: Path) -> bool:
        with path.open("rb") as stream:
            return stream.read(9)[8:] == b"{" or path.suffix == ".safetensors"

    def read_header(self, path: Path) -> BundleHeader:
        with path.open("rb") as stream:
            return _read(path, stream)[0]

    def load(self, path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Bundle:
        with path.open("rb") as stream:
            header, entries = _read(path, stream)
            state = fields.state_dict(
                path,
                header,
                entries,
                tensor=lambda name: read_tensor(path, stream, entries[name]),
                device=device,
                dtype=dtype,
            )
        return with_weights(header, state)

    def save(self, bundle: Bundle, path: Path) -> None:
        metadata = {key: compact(value) for key, value in fields.fields_of(bundle, path).items()}
        metadata |= {"format_version": FORMAT_VERSION, "arch": bundle.architecture}
        write(bundle.state_dict, metadata, path)


def build(_options: None, _context: FormatContext) -> SafetensorsFormat:
    return SafetensorsFormat()


def write(state: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> None:
    """Write tensors and text, atomically; equal content gives equal bytes.

    Tensors stand in the order of falling alignment, then name, as other writers of the format lay them out.
    """
    ordered = sorted(state.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = compact(header).encode()
    text += b" " * (-len(text) % 8)
    with atomic_writer(path) as stream:
        stream.write(_LENGTH.pack(len(text)))
        stream.write(text)
        for _, tensor in ordered:
            flat = tensor.detach().cpu().contiguous().flatten()
            stream.write(flat.view(torch.uint8).numpy().data)


def read_entries(path: Path, stream: BufferedReader) -> tuple[dict[str, str], dict[str, Entry]]:
    """The metadata and every tensor's place, all checked against the file, no tensor read."""
    header, start = _read_json_header(path, stream)
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _refused(path, "its metadata is not a mapping of text to text")
    size = stream.seek(0, 2) - start
    entries: dict[str, Entry] = {}
    places: list[tuple[int, int, str]] = []
    for name, value in header.items():
        dtype, shape, (first, end) = _entry_fields(path, name, value)
        if end - first != prod(shape) * dtype.itemsize:
            raise _refused(path, f"tensor {name[:80]!r} of shape {shape} takes {end - first} bytes")
        entries[name] = Entry(dtype, shape, start + first)
        places.append((first, end, name))
    reached = 0
    for first, end, name in sorted(places):
        if first != reached:
            raise _refused(path, f"tensor {name[:80]!r} leaves a hole or overlaps another")
        reached = end
    if reached != size:
        raise CheckpointError(f"{path}: its tensors take {reached} bytes, the file has {size}: cut short. {_AGAIN}")
    return metadata, entries


def _read(path: Path, stream: BufferedReader) -> tuple[BundleHeader, dict[str, Entry]]:
    metadata, entries = read_entries(path, stream)
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format_version is {str(version)[:80]!r}, this reader knows {FORMAT_VERSION!r}. "
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
    return header, entries


def _read_json_header(path: Path, stream: BufferedReader) -> tuple[dict[str, Any], int]:
    """The parsed header, and where the tensors begin."""
    prefix = stream.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        raise CheckpointError(f"{path}: {len(prefix)} bytes are no safetensors file. {_AGAIN}")
    (length,) = _LENGTH.unpack(prefix)
    if length > _MAX_HEADER_BYTES:
        raise _refused(path, f"its header claims {length} bytes, the limit is {_MAX_HEADER_BYTES}")
    text = stream.read(length)
    if len(text) < length:
        raise CheckpointError(f"{path}: its header is cut short. {_AGAIN}")
    header = parse_json(path, "its header", text)
    if not isinstance(header, dict):
        raise _refused(path, "its header is not a mapping")
    if len(header) > _MAX_TENSORS + 1:
        raise _refused(path, f"it has {len(header)} tensors, the limit is {_MAX_TENSORS}")
    return header, _LENGTH.size + length


def _entry_fields(path: Path, name: str, value: object) -> tuple[torch.dtype, tuple[int, ...], tuple[int, int]]:
    match value:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [first, end], **rest} if (
            dtype in _DTYPES and len(shape) <= _MAX_DIMENSIONS and not rest
        ):
            if all(type(number) is int and 0 <= number < 1 << 48 for number in (*shape, first, end)):
                return _DTYPES[dtype], tuple(shape), (first, end)
    raise _refused(path, f"tensor {name[:80]!r} has no proper dtype, shape and data_offsets")


def read_tensor(path: Path, stream: BufferedReader, entry: Entry) -> Tensor:
    """The tensor on the CPU."""
    tensor = torch.empty(entry.shape, dtype=entry.dtype)
    view = tensor.flatten().view(torch.uint8).numpy().data
    stream.seek(entry.start)
    if stream.readinto(view) != view.nbytes:
        raise CheckpointError(f"{path}: cut short while it was read. {_AGAIN}")
    return tensor


def compact(value: object) -> str:
    """JSON without a space."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _refused(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: refused: {what}. {_AGAIN}")
