"""What this plugin provides; imports nothing heavy."""

from __future__ import annotations

from midigpt_core import hookimpl
from midigpt_core.components import LoggerSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_loggers() -> list[LoggerSpec]:
    return [
        LoggerSpec(name="none", summary="no logger, only metrics.jsonl", target="midigpt_loggers.none:build"),
        LoggerSpec(
            name="tensorboard",
            summary="TensorBoard event files (extra 'tensorboard')",
            target="midigpt_loggers.tensorboard:build",
            options="midigpt_loggers.options:TensorBoardOptions",
        ),
        LoggerSpec(
            name="wandb",
            summary="Weights & Biases, offline without a network (extra 'wandb')",
            target="midigpt_loggers.wandb:build",
            options="midigpt_loggers.options:WandbOptions",
        ),
        LoggerSpec(
            name="mlflow",
            summary="MLflow, a server or a database in the run's folder (extra 'mlflow')",
            target="midigpt_loggers.mlflow:build",
            options="midigpt_loggers.options:MlflowOptions",
        ),
    ]
