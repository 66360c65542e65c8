"""Steps on the CPU, some each time a line arrives, answered by seconds and steps.

A step trains a small model or, given a bundle, reads a prompt with it and then token after token.

python -m bench.threads_process THREADS STEPS_A_TURN [BUNDLE]
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from midigpt_core.config import TrainConfig
from midigpt_core.inference import InferenceEngine
from midigpt_core.plugins import current_registry
from midigpt_core.training.loop.initial import initial_model
from midigpt_core.training.loop.optimization import build_optimizer, optimization

if TYPE_CHECKING:
    from collections.abc import Callable

_VOCABULARY = 647
_ROWS, _LENGTH = 4, 512


#: Tokens that a step of reading reads together, and then one by one.
_PROMPT, _GENERATED = 256, 32


def main() -> None:
    threads, steps = map(int, sys.argv[1:3])
    torch.set_num_threads(threads)
    step = _reading(sys.argv[3]) if sys.argv[3:] else _training()
    for _ in sys.stdin:
        begin = time.perf_counter()
        for _ in range(steps):
            step()
        print(json.dumps({"seconds": time.perf_counter() - begin, "work": steps}), flush=True)


def _reading(bundle: str) -> Callable[[], None]:
    engine = InferenceEngine.from_checkpoint(bundle, "cpu")
    reader, size = engine.reader(), engine.encoder.vocab_size
    tokens = np.random.default_rng(1).integers(0, size, _PROMPT + _GENERATED).astype(np.int32)
    places = np.arange(len(tokens), dtype=np.int32)
    logits = np.zeros((1, size), np.float32)

    def step() -> None:
        sequences = reader.open(1, len(tokens))
        for run in (slice(_PROMPT), *(slice(place, place + 1) for place in range(_PROMPT, len(tokens)))):
            sequences.step(tokens[run], places[run], np.array([0, len(tokens[run])], np.int64), logits)

    return step


def _training() -> Callable[[], None]:
    config = TrainConfig(n_embd=128, n_layer=4, n_head=4, n_positions=_LENGTH)
    registry = current_registry()
    model = initial_model(config, registry.resolve("architecture", config.choice("architecture")), _VOCABULARY)
    optimizer = build_optimizer(model, optimization(config, registry.resolve("optimizer", "muon")), fused=True)
    tokens = torch.randint(_VOCABULARY, (_ROWS, _LENGTH), generator=torch.Generator().manual_seed(1))

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()))
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
