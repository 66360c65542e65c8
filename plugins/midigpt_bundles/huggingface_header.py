"""The header of a Hugging Face folder (:mod:`midigpt_bundles.huggingface`), read without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_bundles import fields
from midigpt_bundles.huggingface_config import sizes_from
from midigpt_core.checkpoint.plain import parse_json, read_json
from midigpt_core.checkpoint.safetensors_entries import read_entries
from midigpt_core.errors import CheckpointError
from midigpt_core.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from midigpt_core.checkpoint.safetensors_entries import Entry
    from midigpt_core.contracts import BundleHeader, FormatContext

CONFIG = "config.json"
ENCODER = "encoder.json"
WEIGHTS = "model.safetensors"
#: Of weights in several files: which file contains which tensor.
_INDEX = "model.safetensors.index.json"


class HuggingFaceHeaders:
    """Satisfies :class:`midigpt_core.contracts.HeaderReader`."""

    def matches(self, path: Path) -> bool:
        # A folder of weights in several files deserves the reader's message, not "unknown format".
        return (path / _INDEX).is_file() or ((path / CONFIG).is_file() and (path / WEIGHTS).is_file())

    def read_header(self, path: Path) -> BundleHeader:
        require_one_file(path)
        with open_regular(path / WEIGHTS) as stream:
            return described(path, *read_entries(path / WEIGHTS, stream))


def build(_options: None, _context: FormatContext) -> HuggingFaceHeaders:
    return HuggingFaceHeaders()


def require_one_file(path: Path) -> None:
    """Raise :class:`midigpt_core.errors.CheckpointError` for a folder whose weights are in several files."""
    if (path / _INDEX).is_file() and not (path / WEIGHTS).is_file():
        raise CheckpointError(
            f"{path}: its weights are in several files, and a bundle has one, {WEIGHTS}. Join them in Python: "
            f"transformers.AutoModelForCausalLM.from_pretrained({str(path)!r}).save_pretrained('joined', "
            f"max_shard_size='1TB'); then copy {ENCODER} to the folder 'joined'."
        )


def described(path: Path, metadata: Mapping[str, str], entries: Mapping[str, Entry]) -> BundleHeader:
    """The header of a folder whose weights have this metadata and these tensors, checked."""
    config = read_json(path / CONFIG)
    architecture, sizes = sizes_from(config, path / CONFIG)
    if not (path / ENCODER).is_file():
        raise CheckpointError(
            f"{path}: there is no {ENCODER}, so nothing can be tokenised for it. Put the encoder's configuration there."
        )
    header = fields.header_of(
        path,
        arch=architecture,
        config=sizes,
        encoder_config=read_json(path / ENCODER),
        ours=parse_json(path / WEIGHTS, fields.OURS, metadata[fields.OURS]) if fields.OURS in metadata else None,
    )
    fields.check_shapes(path / WEIGHTS, header, {name: entry.shape for name, entry in entries.items()})
    return header
