"""One side of the training rows, in a process of its own: the whole pipeline, a bare loop over tensors, or data alone.

python -m bench.training_process pipeline|bare|data PARQUET CONFIG_JSON RUN_DIR STEPS_A_TURN THREADS
"""

from __future__ import annotations

import json
import sys
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from bench.baseline.stepping import Gate
from midigpt_core.config import TrainConfig
from midigpt_core.data.blocks import ROWS_PER_BLOCK
from midigpt_core.data.datasets import batches
from midigpt_core.records import IGNORED_LABEL
from midigpt_core.training import run
from midigpt_core.training.loop.initial import initial_model
from midigpt_core.training.loop.module import TrainingModule
from midigpt_core.training.planning.prepare import Plan, prepare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

#: Batches that the bare loop goes through, more than there are steps in all turns: each turn has the batches that the
#: pipeline has in the same turn, with as many documents to attend in.
_PRE_MADE = 64


def main() -> None:
    side, parquet, config, run_dir, steps, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    # The optimiser of the other sides.
    plan = prepare(TrainConfig(output_dir=run_dir, optimizer="adamw", **json.loads(config)), parquet)
    {"pipeline": pipeline, "bare": bare, "data": data}[side](plan, int(steps), int(threads))


def pipeline(plan: Plan, steps: int, threads: int) -> None:
    """What ``midigpt train`` does: drawing, encoding, packing, Lightning, metrics file."""
    gate = Gate(steps, threads)
    training_step = TrainingModule.training_step

    def gated(self: TrainingModule, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        gate(_tokens(batch))
        return training_step(self, batch, batch_idx)

    patched: Any = TrainingModule
    patched.training_step = gated
    run.fit(plan)


def data(plan: Plan, _steps: int, threads: int) -> None:
    """The pipeline's batches with nothing done to them. A turn is four blocks, however many steps that is."""
    batch_size = plan.config.batch_size
    gate = Gate(4 * ROWS_PER_BLOCK // batch_size, threads)
    for batch in batches(plan.training, batch_size=batch_size, first_row=0):
        gate(_tokens(batch))


def bare(plan: Plan, steps: int, threads: int) -> None:
    """The least that trains this model on these tensors."""
    gate = Gate(steps, threads)
    config = plan.config
    ready = list(islice(batches(plan.training, batch_size=config.batch_size, first_row=0), _PRE_MADE))
    model = initial_model(config, plan.chosen.architecture, plan.encoder.vocab_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, fused=True)
    for batch in cycle(ready):
        gate(_tokens(batch))
        logits = model(batch["input_ids"], position_ids=batch["position_ids"], document_ids=batch["document_ids"])
        loss = cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORED_LABEL)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()


def _tokens(batch: Mapping[str, Tensor]) -> int:
    return int((batch["document_ids"] >= 0).sum())


if __name__ == "__main__":
    main()
