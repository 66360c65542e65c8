"""TensorBoard event files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from midigpt_loggers.requirements import require, require_utf8

if TYPE_CHECKING:
    from pathlib import Path

    from midigpt_core.contracts import LoggerContext
    from midigpt_loggers.options import TensorBoardOptions


class _TensorBoard(TensorBoardLogger):
    def log_sample(self, name: str, midi: Path, piano_roll: Path, step: int) -> None:
        """Log the picture as an image and the path of the MIDI file, which TensorBoard cannot play, as a text."""
        with Image.open(piano_roll) as picture:
            self.experiment.add_image(f"samples/{name}", np.asarray(picture), step, dataformats="HWC")
        self.experiment.add_text(f"samples/{name}", str(midi), step)


def build(options: TensorBoardOptions, context: LoggerContext) -> TensorBoardLogger:
    """Build a logger that writes to ``<run folder>/<folder>``; a resumed run adds a file there."""
    require("tensorboard", "tensorboard")
    require_utf8(context.run_dir, "tensorboard")
    return _TensorBoard(
        save_dir=context.run_dir,
        name=options.folder,
        version="",
        default_hp_metric=False,
        flush_secs=options.flush_secs,
    )
