"""The legacy directory: ``config.json``, the encoder's configuration, and ``model.pt``, a TorchScript GPT-2.

The tensors are read from the archive without running the program that comes with them, and matched to the names of a
GPT-2. If the names do not match, the user can pass ``allow_unsafe`` to match by order and check the result by running
the program (:mod:`midigpt_legacy.program`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve

from midigpt_core import terminal
from midigpt_core.checkpoint.archive_tensors import TensorReader
from midigpt_core.checkpoint.assemble import with_weights
from midigpt_core.checkpoint.gpt2_layout import EMBEDDING, HEAD
from midigpt_core.checkpoint.plain import read_json
from midigpt_core.checkpoint.torch_archive import check_apart, open_archive
from midigpt_core.errors import CheckpointError
from midigpt_legacy import program
from midigpt_legacy.header import (
    CONFIG,
    MODEL,
    LegacyHeaders,
    contents,
    header_of,
    matched_by_name,
    shape_of,
    size_of,
    size_with_heads,
)
from midigpt_legacy.names import NamesDifferError, by_order

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from torch import Tensor

    from midigpt_core.checkpoint.torch_archive import StoredTensor, TorchArchive
    from midigpt_core.contracts import Bundle, FormatContext

logger = terminal.logger(__name__)


class LegacyDirectory(LegacyHeaders):
    """Satisfies :class:`midigpt_core.contracts.CheckpointFormat`; cannot save."""

    def __init__(self, *, allow_unsafe: bool) -> None:
        self._allow_unsafe = allow_unsafe

    def load(self, path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Bundle:
        config = read_json(path / CONFIG)
        with open_archive(path / MODEL) as archive:
            tensors, attributes = contents(archive)
            try:
                stored = matched_by_name(archive.path, tensors)
            except CheckpointError:
                if not self._allow_unsafe:
                    raise
                bundle = _checked_by_running(archive, tensors, config)
            else:
                header = header_of(config, size_of(archive, stored, attributes, config))
                bundle = with_weights(header, _weights(archive, stored))
        state = {
            name: tensor.to(device=device, dtype=dtype or tensor.dtype) for name, tensor in bundle.state_dict.items()
        }
        return evolve(bundle, state_dict=state)

    def save(self, bundle: Bundle, path: Path) -> None:
        raise CheckpointError(f"{path}: a legacy directory can only be read. Save as .pt or .safetensors.")


def build(_options: None, context: FormatContext) -> LegacyDirectory:
    return LegacyDirectory(allow_unsafe=context.allow_unsafe)


def _weights(archive: TorchArchive, stored: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    reader = TensorReader(archive)
    state = {name: reader.tensor(tensor).contiguous() for name, tensor in stored.items()}
    if HEAD not in state:
        logger.warning("%s: there is no %s, took the token embedding's weights for it", archive.path, HEAD)
        state[HEAD] = state[EMBEDDING].clone()
    return state


def _checked_by_running(
    archive: TorchArchive, tensors: Mapping[str, StoredTensor], config: Mapping[str, Any]
) -> Bundle:
    """The bundle with tensors matched by order; the program itself confirms it."""
    try:
        stored = by_order(tensors)
    except NamesDifferError as error:
        raise CheckpointError(
            f"{archive.path}: {error}. It is not a GPT-2 that can be read; choose another."
        ) from error
    check_apart(archive.path, stored, (EMBEDDING, HEAD))
    width = shape_of(archive.path, stored, EMBEDDING)[1]
    state = _weights(archive, stored)
    candidates = [
        with_weights(header_of(config, size_with_heads(archive.path, stored, heads)), state)
        for heads in program.HEAD_COUNTS
        if width % heads == 0
    ]
    return program.confirmed(archive.path, candidates)
