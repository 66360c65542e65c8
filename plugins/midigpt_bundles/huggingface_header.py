"""What a Hugging Face folder (:mod:`midigpt_bundles.huggingface`) says of itself, read without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midigpt_bundles import fields
from midigpt_bundles.safetensors_header import read_entries
from midigpt_core.checkpoint.plain import parse_json, plain_mapping
from midigpt_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from midigpt_bundles.safetensors_header import Entry
    from midigpt_core.contracts import BundleHeader, FormatContext

CONFIG = "config.json"
ENCODER = "encoder.json"
WEIGHTS = "model.safetensors"
_MAX_JSON_BYTES = 4 << 20
SIZES = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")

#: What a GPT-2 of midigpt is, in the words of transformers' configuration.
FIXED: Mapping[str, Any] = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "n_inner": None,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}


class HuggingFaceHeaders:
    """Satisfies :class:`midigpt_core.contracts.HeaderReader`."""

    def matches(self, path: Path) -> bool:
        return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()

    def read_header(self, path: Path) -> BundleHeader:
        with (path / WEIGHTS).open("rb") as stream:
            return described(path, *read_entries(path / WEIGHTS, stream))


def build(_options: None, _context: FormatContext) -> HuggingFaceHeaders:
    return HuggingFaceHeaders()


def described(path: Path, metadata: Mapping[str, str], entries: Mapping[str, Entry]) -> BundleHeader:
    """The header of a folder whose weights have this metadata and these tensors, checked."""
    config = _read_json(path / CONFIG)
    for name, value in FIXED.items():
        if config.get(name, value) != value:
            raise CheckpointError(
                f"{path / CONFIG}: {name} is {str(config[name])[:80]!r}, a midigpt model has {value!r}. "
                "Choose a folder that midigpt wrote."
            )
    if not (path / ENCODER).is_file():
        raise CheckpointError(
            f"{path}: there is no {ENCODER}, so nothing can be tokenised for it. Put the encoder's configuration there."
        )
    header = fields.header_of(
        path,
        arch="gpt2",
        config={name: config[name] for name in SIZES if name in config},
        encoder_config=_read_json(path / ENCODER),
        ours=parse_json(path / WEIGHTS, fields.OURS, metadata[fields.OURS]) if fields.OURS in metadata else None,
    )
    fields.check_shapes(path / WEIGHTS, header, {name: entry.shape for name, entry in entries.items()})
    return header


def _read_json(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        text = stream.read(_MAX_JSON_BYTES + 1)
    if len(text) > _MAX_JSON_BYTES:
        raise CheckpointError(f"{path}: longer than {_MAX_JSON_BYTES} bytes. Choose another folder.")
    return plain_mapping(path, "the file", parse_json(path, "the file", text))
