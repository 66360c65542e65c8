"""The baseline trains: python training.py PARQUET ENCODER_JSON CONFIG_JSON RUN_DIR STEPS_A_TURN THREADS"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from midigpt.training import MidiGPTLightningModule
from midigpt.training.trainer import TrainConfig, train
from stepping import Gate

parquet, encoder, config, run_dir, steps, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
gate = Gate(int(steps), int(threads))
training_step = MidiGPTLightningModule.training_step


def gated(self: Any, batch: Any, *arguments: Any, **more: Any) -> Any:
    gate(int(batch["attention_mask"].sum()))
    return training_step(self, batch, *arguments, **more)


MidiGPTLightningModule.training_step = gated
same = json.loads(config)
train(
    TrainConfig(
        encoder_config_path=encoder,
        output_dir=run_dir,
        per_device_batch_size=same.pop("batch_size"),
        gradient_accumulation_steps=1,
        max_steps=1_000_000,
        # It refuses more than an epoch has batches, and no evaluation data.
        eval_steps=50,
        limit_val_batches=1,
        save_steps=1_000_000,
        **same,
    ),
    parquet,
    parquet,
)
