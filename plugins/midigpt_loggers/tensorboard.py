"""TensorBoard event files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning.pytorch.loggers import TensorBoardLogger

from midigpt_loggers.requirements import require

if TYPE_CHECKING:
    from midigpt_core.contracts import LoggerContext
    from midigpt_loggers.options import TensorBoardOptions


def build(options: TensorBoardOptions, context: LoggerContext) -> TensorBoardLogger:
    """Writes to ``<run folder>/<folder>``; a run that continues adds a file there."""
    require("tensorboard", "tensorboard")
    return TensorBoardLogger(
        save_dir=context.run_dir,
        name=options.folder,
        version="",
        default_hp_metric=False,
        flush_secs=options.flush_secs,
    )
