"""Format 2: ``model.safetensors``.

Eight bytes give the length of a JSON header, the header gives each tensor's type, shape and place, the rest is their
bytes. Source: the format's description in the safetensors project. The header's ``__metadata__`` maps text to text:
``format_version``, ``arch``, ``config`` and ``encoder_config`` (both JSON), and what only midigpt-core reads.

Reading and writing are done here rather than by the safetensors package: its writer orders metadata at random, so that
equal weights give different bytes, and its reader accepts headers of up to 100 MB.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

from midigpt_bundles import fields
from midigpt_bundles.safetensors_header import (
    AGAIN,
    DTYPES,
    FORMAT_VERSION,
    LENGTH,
    METADATA,
    Entry,
    SafetensorsHeaders,
    described,
)
from midigpt_core.checkpoint.assemble import with_weights
from midigpt_core.errors import CheckpointError
from midigpt_core.files import atomic_writer, open_regular

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BufferedReader
    from pathlib import Path

    from torch import Tensor

    from midigpt_core.contracts import Bundle, FormatContext

_NAMES = {getattr(torch, dtype): name for name, (dtype, _) in DTYPES.items()}


class SafetensorsFormat(SafetensorsHeaders):
    """Satisfies :class:`midigpt_core.contracts.CheckpointFormat`."""

    def load(self, path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Bundle:
        with open_regular(path) as stream:
            header, entries = described(path, stream)
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

    Tensors are ordered by decreasing alignment, then by name, as in other writers of the format.
    """
    ordered = sorted(state.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, Any] = {METADATA: dict(sorted(metadata.items()))}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = compact(header).encode()
    text += b" " * (-len(text) % 8)
    with atomic_writer(path) as stream:
        stream.write(LENGTH.pack(len(text)))
        stream.write(text)
        for _, tensor in ordered:
            flat = tensor.detach().cpu().contiguous().flatten()
            stream.write(flat.view(torch.uint8).numpy().data)


def read_tensor(path: Path, stream: BufferedReader, entry: Entry) -> Tensor:
    """The tensor on the CPU."""
    tensor = torch.empty(entry.shape, dtype=getattr(torch, entry.dtype))
    view = tensor.flatten().view(torch.uint8).numpy().data
    stream.seek(entry.start)
    if stream.readinto(view) != view.nbytes:
        raise CheckpointError(f"{path}: cut short while it was read. {AGAIN}")
    return tensor


def compact(value: object) -> str:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
