"""One side of the training rows, in a process of its own: the whole pipeline, or a bare loop over tensors.

python -m bench.training_process pipeline|bare PARQUET CONFIG_JSON RUN_DIR STEPS_A_TURN THREADS
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from bench.peer.stepping import Gate
from midigpt_core.config import TrainConfig
from midigpt_core.data.datasets import batches
from midigpt_core.records import IGNORED_LABEL
from midigpt_core.training import run
from midigpt_core.training.clock import StepClock
from midigpt_core.training.initial import initial_model
from midigpt_core.training.module import TrainingModule
from midigpt_core.training.prepare import Plan, prepare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

#: Batches that the bare loop goes through again and again.
_PRE_MADE = 16


def main() -> None:
    side, parquet, config, run_dir, steps, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    gate = Gate(int(steps), int(threads))
    plan = prepare(TrainConfig(output_dir=run_dir, **json.loads(config)), parquet)
    {"pipeline": pipeline, "bare": bare}[side](plan, gate)


def pipeline(plan: Plan, gate: Gate) -> None:
    """What ``midigpt train`` does: drawing, encoding, packing, Lightning, metrics file."""
    training_step = TrainingModule.training_step

    def gated(self: TrainingModule, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        gate(_tokens(batch))
        return training_step(self, batch, batch_idx)

    patched: Any = TrainingModule
    patched.training_step = gated
    # Standing at the gate takes no processor seconds, so that what metrics.jsonl says of a step's time holds here too.
    clocked: Any = run
    clocked.StepClock = partial(StepClock, time.process_time)
    run.fit(plan)


def bare(plan: Plan, gate: Gate) -> None:
    """The least that trains this model on these tensors."""
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
