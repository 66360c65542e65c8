"""Training steps of a small model on the CPU: some each time a line arrives, answered by seconds and steps.

python -m bench.threads_process THREADS STEPS_A_TURN
"""

from __future__ import annotations

import json
import sys
import time

import torch
from torch.nn.functional import cross_entropy

from midigpt_core.config import TrainConfig
from midigpt_core.plugins import current_registry
from midigpt_core.training.loop.initial import initial_model
from midigpt_core.training.loop.optimization import build_optimizer, optimization

_VOCABULARY = 647
_ROWS, _LENGTH = 4, 512


def main() -> None:
    threads, steps = map(int, sys.argv[1:])
    torch.set_num_threads(threads)
    config = TrainConfig(n_embd=128, n_layer=4, n_head=4, n_positions=_LENGTH)
    registry = current_registry()
    model = initial_model(config, registry.resolve("architecture", config.choice("architecture")), _VOCABULARY)
    optimizer = build_optimizer(model, optimization(config, registry.resolve("optimizer", "muon")), fused=True)
    tokens = torch.randint(_VOCABULARY, (_ROWS, _LENGTH), generator=torch.Generator().manual_seed(1))
    for _ in sys.stdin:
        begin = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()))
            optimizer.step()
        print(json.dumps({"seconds": time.perf_counter() - begin, "work": steps}), flush=True)


if __name__ == "__main__":
    main()
