"""A folder as transformers reads it: ``GPT2LMHeadModel.from_pretrained(folder)``.

``config.json``, ``generation_config.json`` and ``model.safetensors`` are transformers'; ``encoder.json`` holds the
encoder's configuration; ``README.md`` is the model card. What else midigpt-core knows travels in the metadata of
``model.safetensors``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from midigpt_bundles import fields, model_card
from midigpt_bundles.safetensors import compact, read_entries, read_tensor, write
from midigpt_core.checkpoint.assemble import with_weights
from midigpt_core.checkpoint.plain import parse_json, plain_mapping
from midigpt_core.errors import CheckpointError
from midigpt_core.files import atomic_folder, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from midigpt_bundles.safetensors import Entry
    from midigpt_core.contracts import Bundle, BundleHeader, FormatContext

_CONFIG = "config.json"
_ENCODER = "encoder.json"
_WEIGHTS = "model.safetensors"
_MAX_JSON_BYTES = 4 << 20
_SIZES = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")

#: What a GPT-2 of midigpt is, in the words of transformers' configuration.
_FIXED: Mapping[str, Any] = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "n_inner": None,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
#: What it also is, but may differ in a file: dropout is for training, a tied head is untied on reading.
_WRITTEN: Mapping[str, Any] = {
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
    "initializer_range": 0.02,
    "tie_word_embeddings": False,
    # transformers' defaults (50256) lie outside the vocabulary.
    "bos_token_id": 0,
    "eos_token_id": 0,
}
#: No token ends a piece: generation is stopped by grammar or length.
_GENERATION: Mapping[str, Any] = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": None, "do_sample": True}


class HuggingFaceFolder:
    """Satisfies :class:`midigpt_core.contracts.CheckpointFormat`."""

    def matches(self, path: Path) -> bool:
        return (path / _CONFIG).is_file() and (path / _WEIGHTS).is_file()

    def read_header(self, path: Path) -> BundleHeader:
        with (path / _WEIGHTS).open("rb") as stream:
            return _header(path, *read_entries(path / _WEIGHTS, stream))

    def load(self, path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Bundle:
        weights = path / _WEIGHTS
        with weights.open("rb") as stream:
            metadata, entries = read_entries(weights, stream)
            header = _header(path, metadata, entries)
            state = fields.state_dict(
                weights,
                header,
                entries,
                tensor=lambda name: read_tensor(weights, stream, entries[name]),
                device=device,
                dtype=dtype,
            )
        return with_weights(header, state)

    def save(self, bundle: Bundle, path: Path) -> None:
        if bundle.architecture != "gpt2":
            raise CheckpointError(
                f"{path}: a Hugging Face folder holds a gpt2, not a {bundle.architecture!r}. "
                "Save as .pt or .safetensors."
            )
        written = fields.fields_of(bundle, path)
        config = {**_FIXED, **_WRITTEN, **{name: bundle.architecture_config[name] for name in _SIZES}}
        with atomic_folder(path) as folder:
            write(bundle.state_dict, {"format": "pt", fields.OURS: compact(written[fields.OURS])}, folder / _WEIGHTS)
            _write_json(folder / _CONFIG, config)
            _write_json(folder / "generation_config.json", _GENERATION)
            _write_json(folder / _ENCODER, written["encoder_config"])
            write_text(folder / "README.md", model_card.model_card(bundle))


def build(_options: None, _context: FormatContext) -> HuggingFaceFolder:
    return HuggingFaceFolder()


def _header(path: Path, metadata: Mapping[str, str], entries: Mapping[str, Entry]) -> BundleHeader:
    config = _read_json(path / _CONFIG)
    for name, value in _FIXED.items():
        if config.get(name, value) != value:
            raise CheckpointError(
                f"{path / _CONFIG}: {name} is {str(config[name])[:80]!r}, a midigpt model has {value!r}. "
                "Choose a folder that midigpt wrote."
            )
    if not (path / _ENCODER).is_file():
        raise CheckpointError(
            f"{path}: there is no {_ENCODER}, so nothing can be tokenised for it. "
            "Put the encoder's configuration there."
        )
    header = fields.header_of(
        path,
        arch="gpt2",
        config={name: config[name] for name in _SIZES if name in config},
        encoder_config=_read_json(path / _ENCODER),
        ours=parse_json(path / _WEIGHTS, fields.OURS, metadata[fields.OURS]) if fields.OURS in metadata else None,
    )
    fields.check_shapes(path / _WEIGHTS, header, {name: entry.shape for name, entry in entries.items()})
    return header


def _read_json(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        text = stream.read(_MAX_JSON_BYTES + 1)
    if len(text) > _MAX_JSON_BYTES:
        raise CheckpointError(f"{path}: longer than {_MAX_JSON_BYTES} bytes. Choose another folder.")
    return plain_mapping(path, "the file", parse_json(path, "the file", text))


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
