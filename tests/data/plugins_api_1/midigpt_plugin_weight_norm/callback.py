"""Writes the norm of all weights to a file of the run folder, at every hundredth step and the first."""

import torch
from lightning.pytorch.callbacks import Callback


class WeightNorm(Callback):
    def __init__(self, path, every=100):
        self.path = path
        self.every = every

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        step = trainer.global_step
        if trainer.is_global_zero and (step == 1 or step % self.every == 0):
            norms = torch.stack([weight.detach().norm() for weight in pl_module.parameters()])
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(f"{step} {norms.norm().item():.6f}\n")
