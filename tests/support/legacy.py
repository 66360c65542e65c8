"""Legacy directories: TorchScript programs of a GPT-2 with the configuration of their encoder."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import torch
from midigpt_encoder.config import EncoderConfig
from torch import Tensor, nn
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

if TYPE_CHECKING:
    from pathlib import Path

VOCABULARY = 647
Past = tuple[tuple[Tensor, Tensor], ...]


def cached(past: Past) -> DynamicCache:
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(past):
        cache.update(keys, values, layer)
    return cache


def kept(cache: DynamicCache) -> Past:
    return tuple((layer.keys, layer.values) for layer in cache.layers)


class Traceable(nn.Module):
    """``forward(ids, past) -> (logits, past)``, as the legacy checkpoints have it."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        super().__init__()
        self.transformer = model.transformer
        self.lm_head = model.lm_head

    def forward(self, ids: Tensor, past: Past) -> tuple[Tensor, Past]:
        cache = cached(past)
        output = self.transformer(input_ids=ids, past_key_values=cache, use_cache=True)
        return self.lm_head(output.last_hidden_state), kept(cache)


def small_model() -> GPT2LMHeadModel:
    """A model with the vocabulary of the yellow encoder, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(31)
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=VOCABULARY,
                n_positions=64,
                n_embd=32,
                n_layer=2,
                n_head=4,
                tie_word_embeddings=False,
                bos_token_id=0,
                eos_token_id=0,
            )
        ).eval()


def empty_past(heads: int = 4) -> Past:
    return ((torch.zeros(1, heads, 0, 32 // heads),) * 2,) * 2


def write(folder: Path, module: nn.Module, **config: Any) -> Path:
    """A legacy directory of a traced module with the yellow encoder."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(EncoderConfig.from_preset("yellow").to_dict() | config))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        example = (torch.zeros(1, 5, dtype=torch.int64), empty_past())
        torch.jit.trace(module, example, check_trace=False).save(str(folder / "model.pt"))
    return folder
