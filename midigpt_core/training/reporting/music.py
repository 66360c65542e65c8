"""Measures generated music during a run: after every so many evaluations, and after the last step's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning.pytorch.callbacks import Callback

from midigpt_core import terminal
from midigpt_core.errors import MidigptError
from midigpt_core.inference import InferenceEngine
from midigpt_core.music.excerpts import draw_excerpts
from midigpt_core.music.generating import generate
from midigpt_core.music.measuring import measure
from midigpt_core.training.reporting.samples import survived

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning.pytorch import LightningModule, Trainer

    from midigpt_core.components import ComponentRef
    from midigpt_core.contracts import Bundle
    from midigpt_core.corpus.copy_index import CopyIndex
    from midigpt_core.data.stream import StreamSpec
    from midigpt_core.music.excerpts import Excerpts
    from midigpt_core.training.reporting.measured_run import MeasuredRun
    from midigpt_core.training.reporting.training_bars import TrainingBars

_log = terminal.logger("midigpt_core.training")


class MusicMeasurer(Callback):
    """After every ``every``-th evaluation, and that of the last step, measures what the model generates.

    Excerpts come from the evaluation pieces, always the same ones. Only the weights of the trained model are read, and
    no random generator is used: the run is the same, bit for bit, with and without measurements. A failure, in a
    plugin's metric too, is logged as a warning. A signal that stops the run ends a measurement, which then has no
    figures.
    """

    def __init__(
        self,
        run: MeasuredRun,
        *,
        every: int,
        eval_steps: int,
        max_steps: int,
        metrics: Mapping[str, ComponentRef],
        excerpts: int,
        evaluation: StreamSpec,
        training_bars: TrainingBars,
    ) -> None:
        self._run = run
        self._every = every
        self._eval_steps = eval_steps
        self._max_steps = max_steps
        self._metrics = metrics
        self._count = excerpts
        self._evaluation = evaluation
        self._training_bars = training_bars
        self._excerpts: Excerpts | None = None
        self._known: CopyIndex | None = None
        self._has_index = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step
        due = step // self._eval_steps % self._every == 0 or step >= self._max_steps
        if not due or self._run.signals.agreed is not None:
            return
        with self._run.clock.paused():
            bundle = self._run.bundle()
            if bundle is not None:
                with survived(f"music is not measured at step {step}"):
                    self._measure(step, bundle)

    def _measure(self, step: int, bundle: Bundle) -> None:
        engine = InferenceEngine.from_bundle(bundle)
        if self._excerpts is None:
            self._excerpts = draw_excerpts(self._evaluation, engine.encoder, self._count)
        if self._known is None and self._has_index:
            self._known = self._index()
        if self._run.is_to_stop():
            return
        music = generate(engine, self._excerpts, go_on=lambda: not self._run.is_to_stop())
        if music is None:
            return
        report = measure(self._metrics, music, engine.encoder, training_bars=self._known, pieces=self._excerpts.pieces)
        self._run.module.music = report.scalars()
        for sink in self._run.sinks:
            sink.music(step, report)

    def _index(self) -> CopyIndex | None:
        """The index of the training corpus; None without room for it."""
        try:
            return self._training_bars.index(lambda: not self._run.is_to_stop())
        except MidigptError as error:
            self._has_index = False
            _log.warning("copies of training bars are not looked for: %s", error)
            return None
