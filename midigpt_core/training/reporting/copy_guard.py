"""Measures at every evaluation how much of what the model generates is copied from the training data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from attrs import frozen
from lightning.pytorch.callbacks import Callback

from midigpt_core import terminal
from midigpt_core.corpus.copy_index import pieces_digest
from midigpt_core.inference import InferenceEngine
from midigpt_core.music.excerpts import draw_excerpts
from midigpt_core.music.generating import generate
from midigpt_core.music.measuring import measure
from midigpt_core.training.planning.prepare import COPY_RATE
from midigpt_core.training.reporting.copy_rates import EXCERPTS_OF, HELD_OUT, TRAINING, CopyRate, CopyReport
from midigpt_core.training.reporting.samples import survived

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lightning.pytorch import LightningModule, Trainer

    from midigpt_core.components import ComponentRef
    from midigpt_core.corpus.copy_index import CopyIndex
    from midigpt_core.data.stream import StreamSpec
    from midigpt_core.music.excerpts import Excerpts
    from midigpt_core.training.reporting.measured_run import MeasuredRun
    from midigpt_core.training.reporting.training_bars import TrainingBars

_log = terminal.logger("midigpt_core.training")


@frozen(kw_only=True)
class Watched:
    """What the copies of a run are measured with."""

    metric: ComponentRef
    #: Excerpts of each kind of :data:`EXCERPTS_OF`.
    excerpts: int
    #: See :class:`CopyReport`.
    limit: float
    training: StreamSpec
    evaluation: StreamSpec
    #: The bundle that the run starts from; None: none.
    base: Path | None
    bars: TrainingBars
    #: The fingerprint of the corpus of ``evaluation``.
    evaluation_corpus: str

    def identity(self) -> list[Any]:
        """What rates depend on besides the weights."""
        evaluated = [self.evaluation_corpus, pieces_digest(self.evaluation.pieces)]
        return [self.excerpts, *self.bars.identity(), *evaluated]


class CopyGuard(Callback):
    """After every evaluation, generates bars in excerpts of training and of held-out pieces and measures copies.

    Always the same excerpts. The base is measured once, and its rates are kept in the checkpoints. A rate above the
    limit is a warning, once in a run; :meth:`excess` is what the choice of the best step depends on. Only the weights
    of the trained model are read, and no random generator is used: the run is the same, bit for bit, with and without.
    A measurement that a signal ended is made up if the run resumes at that step; else the step has no rates.
    """

    def __init__(self, watched: Watched, run: MeasuredRun, *, eval_steps: int) -> None:
        self._watched = watched
        self._run = run
        self._eval_steps = eval_steps
        self._known: CopyIndex | None = None
        self._excerpts: dict[str, Excerpts] = {}
        self._base: dict[str, CopyRate] = {}
        self._rates: dict[int, dict[str, CopyRate]] = {}
        self._has_warned = False

    # --- what was measured -------------------------------------------------------------------------------------------

    def report(self, step: int) -> CopyReport | None:
        """The rates of the evaluation after ``step``; None if they were not measured."""
        rates = self._rates.get(step)
        return None if not rates else CopyReport(rates=rates, base=self._base, limit=self._watched.limit)

    def excess(self, step: int) -> float:
        """By how much the rates after ``step`` are above the limit; infinite if only those of other steps are known, so
        that this step is the best only if nothing else is there."""
        report = self.report(step)
        if report is None:
            return math.inf if self._rates else 0.0
        return report.excess

    def state_dict(self) -> dict[str, Any]:
        return {
            "of": self._watched.identity(),
            "base": _plain(self._base),
            "rates": {step: _plain(rates) for step, rates in self._rates.items()},
            "has_warned": self._has_warned,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["of"] != self._watched.identity():
            return
        self._base = _rates(state_dict["base"])
        self._rates = {int(step): _rates(rates) for step, rates in state_dict["rates"].items()}
        self._has_warned = bool(state_dict["has_warned"])

    # --- when it is measured -----------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Build the index before anything is written: without room for it the run does not start."""
        if trainer.is_global_zero:
            self._known = self._watched.bars.index(lambda: True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step
        self._rates = {known: rates for known, rates in self._rates.items() if known <= step}
        if trainer.is_global_zero and self._watched.base is not None and not self._base:
            with self._run.clock.paused(), survived("the copies of the base are not measured"):
                self._base = self._measured(InferenceEngine.from_checkpoint(self._watched.base)) or {}
        self._base = trainer.strategy.broadcast(self._base)
        if step and step % self._eval_steps == 0:
            self._measure(trainer)
        if self._rates and (last := self.report(max(self._rates))) is not None:
            self._run.module.copies = last.record()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._measure(trainer)

    def _measure(self, trainer: Trainer) -> None:
        step = trainer.global_step
        if step in self._rates or self._run.signals.agreed is not None:
            return
        found: dict[str, CopyRate] = {}
        with self._run.clock.paused():
            bundle = self._run.bundle()
            if bundle is not None:
                with survived(f"copies are not measured at step {step}"):
                    found = self._measured(InferenceEngine.from_bundle(bundle)) or {}
        # Which step is the best has to be known on every rank.
        found = trainer.strategy.broadcast(found)
        if not found:
            return
        self._rates[step] = found
        report = self.report(step)
        assert report is not None
        self._run.module.copies = report.record()
        if trainer.is_global_zero:
            for sink in self._run.sinks:
                sink.copies(step, report)
        if report.excess > 0 and not self._has_warned:
            self._has_warned = True
            if trainer.is_global_zero:
                _log.warning("%s", _warning(step, report))

    def _measured(self, engine: InferenceEngine) -> dict[str, CopyRate] | None:
        """The rates of a model; None if a signal came meanwhile."""
        watched = self._watched
        if not self._excerpts:
            self._excerpts = {
                name: draw_excerpts(spec, engine.encoder, watched.excerpts, controls=False, fewest_pieces=1)
                for name, spec in ((TRAINING, watched.training), (HELD_OUT, watched.evaluation))
            }
        found: dict[str, CopyRate] = {}
        for name, excerpts in self._excerpts.items():
            music = generate(engine, excerpts, go_on=lambda: not self._run.is_to_stop())
            if music is None:
                return None
            report = measure(
                {COPY_RATE: watched.metric}, music, engine.encoder, training_bars=self._known, pieces=excerpts.pieces
            )
            figure = report.figures[COPY_RATE]
            if figure.value is not None:
                found[name] = CopyRate(value=figure.value, bars=figure.count, own=figure.baseline or 0.0)
        return found


def _plain(rates: Mapping[str, CopyRate]) -> dict[str, list[float]]:
    return {name: [rate.value, rate.bars, rate.own] for name, rate in rates.items()}


def _rates(plain: Mapping[str, Sequence[float]]) -> dict[str, CopyRate]:
    return {name: CopyRate(value=value, bars=int(bars), own=own) for name, (value, bars, own) in plain.items()}


def _warning(step: int, report: CopyReport) -> str:
    worst = max(report.rates, key=report.above)
    rate = report.rates[worst]
    return (
        f"the model copies: after step {step}, {rate.value:.0%} of {rate.bars} bars that it generates in "
        f"{EXCERPTS_OF[worst]} are in the training data; the limit is {report.highest(worst):.0%} (copy_limit "
        f"{report.limit:g}). The best step is chosen among those below the limit."
    )
