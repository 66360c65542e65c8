"""TensorBoard event files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from midigpt_core.audio.libraries import audio_libraries
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

    def log_sample_audio(self, name: str, audio: Path, step: int) -> None:
        """Log the sound as one channel, which is what TensorBoard stores."""
        samples, rate = audio_libraries().soundfile.read(audio, dtype="float32", always_2d=True)
        self.experiment.add_audio(f"samples/{name}", samples.mean(axis=1), step, sample_rate=rate)


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
