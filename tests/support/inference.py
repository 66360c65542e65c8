"""Small engines with random weights, and what is equal about two scores."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder
from midigpt_gpt2.factory import build
from midigpt_gpt2.options import Gpt2Options

from midigpt_core.contracts import ArchitectureContext
from midigpt_core.inference import InferenceEngine
from midigpt_core.plugins.attributes import find_attribute

if TYPE_CHECKING:
    from midigpt_core.score import Score

PRESETS = ("expressive", "ghost", "prism", "yellow")


@cache
def engine(preset: str = "yellow", max_tokens: int = 1024, attributes: tuple[str, ...] = ()) -> InferenceEngine:
    config = EncoderConfig.from_preset(preset).with_attributes([find_attribute(name) for name in attributes])
    encoder = MidigptEncoder(config)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = build(
            Gpt2Options(n_embd=32, n_layer=2, n_head=2),
            ArchitectureContext(vocab_size=encoder.vocab_size, max_seq_len=max_tokens),
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return InferenceEngine(model, encoder)


def notes_outside(score: Score, cells: set[tuple[int, int]]) -> list[list[list[int]]]:
    """The notes of each track that do not lie in ``cells``, in their order."""
    content = score.to_dict()
    return [
        [note for note in track["notes"] if (index, note[0]) not in cells]
        for index, track in enumerate(content["tracks"])
    ]


def notes_inside(score: Score, cells: set[tuple[int, int]]) -> int:
    return sum(len(score.tracks[track].bars[bar].notes) for track, bar in cells)
