"""A folder as transformers reads it: ``AutoModelForCausalLM.from_pretrained(folder)``.

``config.json``, ``generation_config.json`` and ``model.safetensors`` are transformers'; ``encoder.json`` holds the
encoder's configuration; ``README.md`` is the model card. Other data of midigpt-core is stored in the metadata of
``model.safetensors``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from midigpt_bundles import fields, model_card
from midigpt_bundles.huggingface_config import MODEL_TYPES, config_of
from midigpt_bundles.huggingface_header import (
    CONFIG,
    ENCODER,
    WEIGHTS,
    HuggingFaceHeaders,
    described,
    require_one_file,
)
from midigpt_core.checkpoint.assemble import with_weights
from midigpt_core.checkpoint.safetensors_data import compact, read_tensor, write
from midigpt_core.checkpoint.safetensors_entries import read_entries
from midigpt_core.errors import CheckpointError
from midigpt_core.files import atomic_folder, open_regular, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from midigpt_core.contracts import Bundle, FormatContext

#: No token ends a piece: generation is stopped by grammar or length.
_GENERATION: Mapping[str, Any] = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": None, "do_sample": True}


class HuggingFaceFolder(HuggingFaceHeaders):
    """Satisfies :class:`midigpt_core.contracts.CheckpointFormat`."""

    def load(self, path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Bundle:
        require_one_file(path)
        weights = path / WEIGHTS
        with open_regular(weights) as stream:
            metadata, entries = read_entries(weights, stream)
            header = described(path, metadata, entries)
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
        if bundle.architecture not in MODEL_TYPES:
            raise CheckpointError(
                f"{path}: a Hugging Face folder holds a {' or '.join(MODEL_TYPES)}, not a {bundle.architecture!r}. "
                "Save as .pt or .safetensors."
            )
        written = fields.fields_of(bundle, path)
        config = config_of(bundle.architecture, bundle.architecture_config)
        with atomic_folder(path) as folder:
            write(bundle.state_dict, {"format": "pt", fields.OURS: compact(written[fields.OURS])}, folder / WEIGHTS)
            _write_json(folder / CONFIG, config)
            _write_json(folder / "generation_config.json", _GENERATION)
            _write_json(folder / ENCODER, written["encoder_config"])
            write_text(folder / "README.md", model_card.model_card(bundle, path))


def build(_options: None, _context: FormatContext) -> HuggingFaceFolder:
    return HuggingFaceFolder()


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
