"""The baseline trains and keeps bundles on the way:

python quality.py TRAIN_PARQUET EVAL_PARQUET ENCODER_JSON CONFIG_JSON RUN_DIR STEPS SAVE_STEPS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from midigpt.training import MidiGPTLightningModule
from midigpt.training.trainer import TrainConfig, train

training, held_out, encoder, config, run_dir, steps, save_steps = sys.argv[1:]
torch.set_num_threads(1)
began: list[float] = []
training_step = MidiGPTLightningModule.training_step


def timed(self: Any, *arguments: Any, **more: Any) -> Any:
    began.append(time.process_time())
    return training_step(self, *arguments, **more)


MidiGPTLightningModule.training_step = timed
same = json.loads(config)
train(
    TrainConfig(
        encoder_config_path=encoder,
        output_dir=run_dir,
        per_device_batch_size=same.pop("batch_size"),
        gradient_accumulation_steps=1,
        max_steps=int(steps),
        save_steps=int(save_steps),
        # It refuses to evaluate less often than once an epoch; a batch of it costs next to nothing.
        eval_steps=30,
        limit_val_batches=1,
        **same,
    ),
    training,
    held_out,
)
Path(run_dir, "began.json").write_text(json.dumps(began), encoding="utf-8")
