"""Reads and writes the tensors of safetensors files (:mod:`midigpt_core.checkpoint.safetensors_entries`)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

from midigpt_core.checkpoint.safetensors_entries import AGAIN, DTYPES, LENGTH, METADATA, Entry
from midigpt_core.errors import CheckpointError
from midigpt_core.files import atomic_writer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BufferedReader
    from pathlib import Path

    from torch import Tensor

_NAMES = {getattr(torch, dtype): name for name, (dtype, _) in DTYPES.items()}


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
