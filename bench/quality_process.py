"""Our side of the rows of :mod:`bench.quality`: trains as ``midigpt train`` does, and notes when each step began.

python -m bench.quality_process TRAIN_PARQUET CONFIG_JSON RUN_DIR
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from midigpt_core.config import TrainConfig
from midigpt_core.training import run
from midigpt_core.training.loop.module import TrainingModule
from midigpt_core.training.planning.prepare import prepare

if TYPE_CHECKING:
    from torch import Tensor


def main() -> None:
    parquet, config, run_dir = sys.argv[1:]
    torch.set_num_threads(1)
    began: list[float] = []
    training_step = TrainingModule.training_step

    def timed(self: TrainingModule, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        began.append(time.process_time())
        return training_step(self, batch, batch_idx)

    patched: Any = TrainingModule
    patched.training_step = timed
    run.fit(prepare(TrainConfig(output_dir=run_dir, **json.loads(config)), parquet))
    Path(run_dir, "began.json").write_text(json.dumps(began), encoding="utf-8")


if __name__ == "__main__":
    main()
