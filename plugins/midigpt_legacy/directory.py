"""The legacy directory: ``config.json``, the encoder's configuration, and ``model.pt``, a TorchScript GPT-2.

The tensors are read from the archive without running the program that comes with them, and matched to the names of a
GPT-2. Only where the names do not match is the user offered, by ``allow_unsafe``, to match by order and have the result
checked by running the program (:mod:`midigpt_legacy.program`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve

from midigpt_core.checkpoint.assemble import with_weights
from midigpt_core.checkpoint.gpt2_layout import EMBEDDING, HEAD, POSITIONS, Gpt2Size, check_tensors
from midigpt_core.checkpoint.plain import parse_json, plain_mapping
from midigpt_core.checkpoint.torch_archive import TorchArchive, open_archive
from midigpt_core.contracts import Bundle, BundleHeader, FormatContext
from midigpt_core.errors import CheckpointError
from midigpt_legacy import program
from midigpt_legacy.heads import told_heads, usual_heads
from midigpt_legacy.names import NamesDifferError, by_name, by_order, named_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from torch import Tensor

    from midigpt_core.checkpoint.torch_archive import StoredTensor

logger = logging.getLogger(__name__)

_CONFIG = "config.json"
_MODEL = "model.pt"
_MAX_CONFIG_BYTES = 4 << 20
#: In ``config.json`` beside the encoder's fields; ours alone.
_N_HEAD = "n_head"


class LegacyDirectory:
    """Satisfies :class:`midigpt_core.contracts.CheckpointFormat`; cannot save."""

    def __init__(self, *, allow_unsafe: bool) -> None:
        self._allow_unsafe = allow_unsafe

    def matches(self, path: Path) -> bool:
        return (path / _CONFIG).is_file() and (path / _MODEL).is_file()

    def read_header(self, path: Path) -> BundleHeader:
        config = _encoder_config(path / _CONFIG)
        with open_archive(path / _MODEL) as archive:
            tensors, attributes = _contents(archive)
            stored = _matched_by_name(archive.path, tensors)
            return _header(config, _size(archive, stored, attributes, config))

    def load(self, path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Bundle:
        config = _encoder_config(path / _CONFIG)
        with open_archive(path / _MODEL) as archive:
            tensors, attributes = _contents(archive)
            try:
                stored = _matched_by_name(archive.path, tensors)
            except CheckpointError:
                if not self._allow_unsafe:
                    raise
                bundle = _checked_by_running(archive, tensors, config)
            else:
                header = _header(config, _size(archive, stored, attributes, config))
                bundle = with_weights(header, _weights(archive, stored))
        state = {
            name: tensor.to(device=device, dtype=dtype or tensor.dtype) for name, tensor in bundle.state_dict.items()
        }
        return evolve(bundle, state_dict=state)

    def save(self, bundle: Bundle, path: Path) -> None:
        raise CheckpointError(f"{path}: a legacy directory can only be read. Save as .pt or .safetensors.")


def build(_options: None, context: FormatContext) -> LegacyDirectory:
    return LegacyDirectory(allow_unsafe=context.allow_unsafe)


def _encoder_config(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        text = stream.read(_MAX_CONFIG_BYTES + 1)
    if len(text) > _MAX_CONFIG_BYTES:
        raise CheckpointError(f"{path}: longer than {_MAX_CONFIG_BYTES} bytes. Choose the folder of a checkpoint.")
    return plain_mapping(path, "the configuration", parse_json(path, "the configuration", text))


def _contents(archive: TorchArchive) -> tuple[dict[str, StoredTensor], dict[str, set[int]]]:
    if not archive.is_torchscript:
        raise CheckpointError(
            f"{archive.path}: not a TorchScript program. If it is a bundle, give the file instead of its folder."
        )
    try:
        return named_tensors(archive.describe())
    except NamesDifferError as error:
        raise CheckpointError(f"{archive.path}: {error}. No GPT-2 can be read from it; choose another.") from error


def _matched_by_name(path: Path, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    try:
        return by_name(tensors)
    except NamesDifferError as error:
        raise CheckpointError(
            f"{path}: {error}. Its tensors can be matched by their order and the result checked by running the program "
            "in the file, which can do anything that you can: pass allow_unsafe=True if you trust where it came from."
        ) from error


def _size(
    archive: TorchArchive,
    stored: Mapping[str, StoredTensor],
    attributes: Mapping[str, set[int]],
    config: Mapping[str, Any],
) -> Gpt2Size:
    """The model's size, told by its tensors; the heads are not, see :mod:`midigpt_legacy.heads`."""
    width = _shape(archive.path, stored, EMBEDDING)[-1]
    heads = config.get(_N_HEAD) or told_heads(width, attributes, archive.program_text())
    if heads is None:
        heads = usual_heads(width)
        logger.warning(
            '%s: nothing says how many attention heads there are; took %d. If that is wrong, add "n_head" to %s',
            archive.path,
            heads,
            _CONFIG,
        )
    size = _size_with_heads(archive.path, stored, heads)
    check_tensors({name: tensor.shape for name, tensor in stored.items()}, size, archive.path)
    return size


def _size_with_heads(path: Path, stored: Mapping[str, StoredTensor], heads: int) -> Gpt2Size:
    vocabulary, width = _shape(path, stored, EMBEDDING)
    layers = 1 + max((int(name.split(".")[2]) for name in stored if name.startswith("transformer.h.")), default=-1)
    values = {
        "vocab_size": vocabulary,
        "n_positions": _shape(path, stored, POSITIONS)[0],
        "n_embd": width,
        "n_layer": layers,
        _N_HEAD: heads,
    }
    return Gpt2Size.from_config(values, path)


def _shape(path: Path, stored: Mapping[str, StoredTensor], name: str) -> tuple[int, ...]:
    if name not in stored or len(stored[name].shape) != 2:
        raise CheckpointError(f"{path}: there is no two-dimensional tensor {name!r}. Choose another folder.")
    return stored[name].shape


def _weights(archive: TorchArchive, stored: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    state = {name: archive.tensor(tensor).contiguous() for name, tensor in stored.items()}
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
    width = _shape(archive.path, stored, EMBEDDING)[1]
    state = _weights(archive, stored)
    candidates = [
        with_weights(_header(config, _size_with_heads(archive.path, stored, heads)), state)
        for heads in program.HEAD_COUNTS
        if width % heads == 0
    ]
    return program.confirmed(archive.path, candidates)


def _header(config: Mapping[str, Any], size: Gpt2Size) -> BundleHeader:
    return BundleHeader(
        architecture="gpt2",
        architecture_config=asdict(size),
        encoder="midigpt",
        encoder_config={key: value for key, value in config.items() if key != _N_HEAD},
        provenance={"source": "legacy-directory"},
    )
