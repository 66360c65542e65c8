"""The header of a legacy directory: its encoder, and the sizes from its tensors; read without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import asdict

from midigpt_core import terminal
from midigpt_core.checkpoint.gpt2_layout import EMBEDDING, HEAD, POSITIONS, Gpt2Size, check_tensors
from midigpt_core.checkpoint.plain import read_json
from midigpt_core.checkpoint.torch_archive import TorchArchive, check_apart, open_archive
from midigpt_core.contracts import BundleHeader, FormatContext
from midigpt_core.errors import CheckpointError
from midigpt_legacy.heads import told_heads, usual_heads
from midigpt_legacy.names import NamesDifferError, by_name, named_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from midigpt_core.checkpoint.torch_archive import StoredTensor

logger = terminal.logger(__name__)

#: The encoder's configuration, and ``n_head`` if someone wrote it there.
CONFIG = "config.json"
MODEL = "model.pt"
#: A field of midigpt-core, in ``config.json`` next to the encoder's fields.
_N_HEAD = "n_head"


class LegacyHeaders:
    """Satisfies :class:`midigpt_core.contracts.HeaderReader`."""

    def matches(self, path: Path) -> bool:
        return (path / CONFIG).is_file() and (path / MODEL).is_file()

    def read_header(self, path: Path) -> BundleHeader:
        config = read_json(path / CONFIG)
        with open_archive(path / MODEL) as archive:
            tensors, attributes = contents(archive)
            stored = matched_by_name(archive.path, tensors)
            return header_of(config, size_of(archive, stored, attributes, config))


def build(_options: None, _context: FormatContext) -> LegacyHeaders:
    return LegacyHeaders()


def contents(archive: TorchArchive) -> tuple[dict[str, StoredTensor], dict[str, set[int]]]:
    """The tensors of the program by name, and its whole-number attributes; nothing of it is run."""
    if not archive.is_torchscript:
        raise CheckpointError(
            f"{archive.path}: not a TorchScript program. If it is a bundle, give the file instead of its folder."
        )
    try:
        return named_tensors(archive.describe())
    except NamesDifferError as error:
        raise CheckpointError(f"{archive.path}: {error}. No GPT-2 can be read from it; choose another.") from error


def matched_by_name(path: Path, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The tensors under a GPT-2's names; raises :class:`midigpt_core.errors.CheckpointError` with a way out."""
    try:
        return by_name(tensors)
    except NamesDifferError as error:
        raise CheckpointError(
            f"{path}: {error}. Its tensors can be matched by their order and the result checked by running the program "
            "in the file, which can do anything that you can: pass allow_unsafe=True if you trust where it came from."
        ) from error


def size_of(
    archive: TorchArchive,
    stored: Mapping[str, StoredTensor],
    attributes: Mapping[str, set[int]],
    config: Mapping[str, Any],
) -> Gpt2Size:
    """The model's size from its tensors; for the number of heads, see :mod:`midigpt_legacy.heads`."""
    width = shape_of(archive.path, stored, EMBEDDING)[-1]
    heads = config.get(_N_HEAD) or told_heads(width, attributes, archive.program_text())
    if heads is None:
        heads = usual_heads(width)
        logger.warning(
            '%s: nothing says how many attention heads there are; took %d. If that is wrong, add "n_head" to %s',
            archive.path,
            heads,
            CONFIG,
        )
    size = size_with_heads(archive.path, stored, heads)
    check_tensors({name: tensor.shape for name, tensor in stored.items()}, size, archive.path)
    check_apart(archive.path, stored, (EMBEDDING, HEAD))
    return size


def size_with_heads(path: Path, stored: Mapping[str, StoredTensor], heads: int) -> Gpt2Size:
    """The size from the tensors' shapes, with this number of heads."""
    vocabulary, width = shape_of(path, stored, EMBEDDING)
    layers = 1 + max((int(name.split(".")[2]) for name in stored if name.startswith("transformer.h.")), default=-1)
    values = {
        "vocab_size": vocabulary,
        "n_positions": shape_of(path, stored, POSITIONS)[0],
        "n_embd": width,
        "n_layer": layers,
        _N_HEAD: heads,
    }
    return Gpt2Size.from_config(values, path)


def shape_of(path: Path, stored: Mapping[str, StoredTensor], name: str) -> tuple[int, ...]:
    """The shape of a tensor with two dimensions."""
    if name not in stored or len(stored[name].shape) != 2:
        raise CheckpointError(f"{path}: there is no two-dimensional tensor {name!r}. Choose another folder.")
    return stored[name].shape


def header_of(config: Mapping[str, Any], size: Gpt2Size) -> BundleHeader:
    """The header of the directory; who trained the model is not known."""
    return BundleHeader(
        architecture="gpt2",
        architecture_config=asdict(size),
        encoder="midigpt",
        encoder_config={key: value for key, value in config.items() if key != _N_HEAD},
        provenance={"source": "legacy-directory"},
    )
