"""Sends figures to the Lightning loggers of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning.pytorch.loggers import Logger

    from midigpt_core.music.measuring import MusicReport
    from midigpt_core.training.loop.losses import EvaluationReport
    from midigpt_core.training.reporting.copy_rates import CopyReport
    from midigpt_core.training.reporting.steps import StepRecord


class LoggerSink:
    """Logs every ``every``-th step and every evaluation."""

    def __init__(self, loggers: Sequence[Logger], every: int) -> None:
        self._loggers = loggers
        self._every = every

    def begin(self, first_step: int) -> None:
        return

    def step(self, record: StepRecord) -> None:
        if record.step % self._every:
            return
        self._log(
            record.step,
            {
                "loss": record.loss,
                "learning_rate": record.learning_rate,
                "gradient_norm": record.gradient_norm,
                "tokens_per_second": record.tokens_per_second,
                "padding": record.padding,
                "data_wait": record.data_wait / record.seconds if record.seconds else 0.0,
                **({} if record.flops_utilisation is None else {"mfu": record.flops_utilisation}),
                **{f"tokens/{name}": float(tokens) for name, tokens in record.tokens_by_set.items()},
            },
        )

    def evaluation(self, step: int, report: EvaluationReport) -> None:
        self._log(step, report.scalars())

    def music(self, step: int, report: MusicReport) -> None:
        self._log(step, report.scalars())

    def copies(self, step: int, report: CopyReport) -> None:
        self._log(step, report.scalars())

    def end(self) -> None:
        return

    def _log(self, step: int, values: dict[str, float]) -> None:
        for logger in self._loggers:
            logger.log_metrics(values, step=step)
