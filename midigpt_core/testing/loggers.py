"""Checks for loggers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from midigpt_core.contracts import LoggerContext, SampleAudioLogger, SampleLogger
from midigpt_core.score.piano_roll import save_piano_roll
from midigpt_core.testing import music

if TYPE_CHECKING:
    from midigpt_core.testing.general import Subject


def check_takes_metrics_and_closes(subject: Subject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        logger = subject.build(LoggerContext(run_dir=Path(folder), run_name="kit"))
        if logger is None:
            return
        logger.log_hyperparams({"seed": 1})
        for step in range(3):
            logger.log_metrics({"train_loss": 3.0 - step}, step=step)
        if isinstance(logger, SampleLogger):
            midi, picture = Path(folder) / "samples/step2/kit.mid", Path(folder) / "samples/step2/kit.png"
            score = music.scores()[0]
            score.to_midi(midi)
            save_piano_roll(picture, score)
            logger.log_sample("kit", midi, picture, step=2)
        if isinstance(logger, SampleAudioLogger):
            sound = Path(folder) / "samples/step2/kit.wav"
            sound.parent.mkdir(parents=True, exist_ok=True)
            music.write_tone(sound)
            logger.log_sample_audio("kit", sound, step=2)
        logger.finalize("success")
