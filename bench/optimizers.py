"""The cost of a step of each optimiser, compared with the forward and backward pass before it.

python -m bench.optimizers           # processor seconds on one thread; figures in docs/running.md
"""

from __future__ import annotations

import time
from statistics import median

import torch
from torch.nn.functional import cross_entropy

from midigpt_core.config import TrainConfig
from midigpt_core.plugins import current_registry
from midigpt_core.training.loop.initial import initial_model
from midigpt_core.training.loop.optimization import build_optimizer, optimization

#: Width, layers, heads, tokens of a row, rows of a step.
_SHAPES = ((128, 4, 4, 1024, 2), (512, 6, 8, 2048, 2))
_VOCABULARY = 647
_STEPS = 5


def main() -> None:
    torch.set_num_threads(1)
    registry = current_registry()
    print("| model, rows of a step | forward and backward | adamw | muon | a step with muon |\n|---|---|---|---|---|")
    for width, layers, heads, length, rows in _SHAPES:
        config = TrainConfig(n_embd=width, n_layer=layers, n_head=heads, n_positions=length)
        model = initial_model(config, registry.resolve("architecture", config.choice("architecture")), _VOCABULARY)
        tokens = torch.randint(_VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(1))
        passes, seconds = [], {}
        for name in ("adamw", "muon"):
            optimizer = build_optimizer(model, optimization(config, registry.resolve("optimizer", name)), fused=True)
            steps = []
            # The first step makes the state.
            for number in range(_STEPS + 1):
                begin = time.process_time()
                logits = model(tokens)
                torch.autograd.backward(cross_entropy(logits.flatten(0, 1), tokens.flatten()))
                between = time.process_time()
                optimizer.step()
                end = time.process_time()
                optimizer.zero_grad()
                if number:
                    passes.append(between - begin)
                    steps.append(end - between)
            seconds[name] = median(steps)
        passed, adamw, muon = median(passes), seconds["adamw"], seconds["muon"]
        print(
            f"| {width}/{layers}/{heads}, {rows} of {length} | {1000 * passed:.0f} ms | {1000 * adamw:.1f} ms "
            f"| {1000 * muon:.1f} ms | {100 * ((passed + muon) / (passed + adamw) - 1):+.1f} % |"
        )


if __name__ == "__main__":
    main()
