"""Shows the progress of a run in a terminal, or as lines in a log file."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from midigpt_core.terminal import printable
from midigpt_core.training.reporting.copy_rates import HELD_OUT

if TYPE_CHECKING:
    from rich.console import Console

    from midigpt_core.music.measuring import MusicReport
    from midigpt_core.records import Figure
    from midigpt_core.training.loop.losses import EvaluationReport
    from midigpt_core.training.reporting.copy_rates import CopyReport
    from midigpt_core.training.reporting.steps import StepRecord


class _Average:
    """Averages loss and speed since the last :meth:`take`."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._loss = self._seconds = 0.0
        self._tokens = self._predicted = 0

    def add(self, record: StepRecord) -> None:
        self._loss += record.loss * record.predicted
        self._predicted += record.predicted
        self._tokens += record.tokens
        self._seconds += record.seconds

    def take(self) -> tuple[float, float]:
        """Mean loss per predicted token and tokens per second since the last call."""
        loss, speed = self._loss / max(self._predicted, 1), self._tokens / max(self._seconds, 1e-9)
        self._start()
        return loss, speed


class ProgressBar:
    """A progress bar with loss, tokens per second and the remaining time."""

    def __init__(self, console: Console, max_steps: int, every: int) -> None:
        self._max_steps = max_steps
        self._every = every
        self._average = _Average()
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("training", total=max_steps, figures="")

    def begin(self, first_step: int) -> None:
        # The remaining time is estimated from the steps of this process only.
        self._progress.reset(self._task, total=self._max_steps, completed=first_step, figures="")
        self._progress.start()

    def step(self, record: StepRecord) -> None:
        self._average.add(record)
        if record.step % self._every and record.step != self._max_steps:
            self._progress.update(self._task, completed=record.step)
            return
        loss, speed = self._average.take()
        self._progress.update(self._task, completed=record.step, figures=f"loss {loss:.3f} · {speed:,.0f} tokens/s")

    def evaluation(self, step: int, report: EvaluationReport) -> None:
        self._say(evaluation_line(step, report))

    def music(self, step: int, report: MusicReport) -> None:
        self._say(music_line(step, report))

    def copies(self, step: int, report: CopyReport) -> None:
        self._say(copies_line(step, report))

    def _say(self, line: str) -> None:
        self._progress.console.print(printable(line, None), markup=False, highlight=False)

    def end(self) -> None:
        self._progress.stop()


class ProgressLines:
    """One line every ``every`` steps, for output that is not a terminal."""

    def __init__(self, console: Console, max_steps: int, every: int) -> None:
        self._console = console
        self._max_steps = max_steps
        self._every = every
        self._average = _Average()
        self._seconds = 0.0
        self._steps = 0

    def begin(self, first_step: int) -> None:
        if first_step:
            self._say(f"continuing after step {first_step}")

    def step(self, record: StepRecord) -> None:
        self._average.add(record)
        self._seconds += record.seconds
        self._steps += 1
        if record.step % self._every and record.step != self._max_steps:
            return
        loss, speed = self._average.take()
        left = timedelta(seconds=round(self._seconds / self._steps * (self._max_steps - record.step)))
        self._say(
            f"step {record.step}/{self._max_steps}  loss {loss:.3f}  lr {record.learning_rate:.2e}"
            f"  {speed:,.0f} tokens/s  eta {left}"
        )

    def evaluation(self, step: int, report: EvaluationReport) -> None:
        self._say(evaluation_line(step, report))

    def music(self, step: int, report: MusicReport) -> None:
        self._say(music_line(step, report))

    def copies(self, step: int, report: CopyReport) -> None:
        self._say(copies_line(step, report))

    def end(self) -> None:
        return

    def _say(self, line: str) -> None:
        self._console.print(printable(line, None), markup=False, highlight=False, soft_wrap=True)


class Forecast:
    """Says after the first step how long the run will take and how to have a shorter one."""

    def __init__(self, console: Console, max_steps: int) -> None:
        self._console = console
        self._max_steps = max_steps
        self._said = False

    def begin(self, first_step: int) -> None:
        self._said = first_step > 0

    def step(self, record: StepRecord) -> None:
        if self._said:
            return
        self._said = True
        whole = timedelta(seconds=round(record.seconds * self._max_steps))
        line = (
            f"{self._max_steps:,} steps like the first, of {record.seconds:.1f} s, take {whole} on this machine, which "
            "has no GPU. For a model in minutes, press Ctrl-C and run: midigpt train DATA -o FOLDER --minutes 15. "
            "--config laptop is a small model too, and --max-steps N a shorter run."
        )
        self._console.print(printable(line, None), markup=False, highlight=False, soft_wrap=True)

    def evaluation(self, step: int, report: EvaluationReport) -> None:
        return

    def music(self, step: int, report: MusicReport) -> None:
        return

    def copies(self, step: int, report: CopyReport) -> None:
        return

    def end(self) -> None:
        return


def evaluation_line(step: int, report: EvaluationReport) -> str:
    kinds = "  ".join(f"{name} {loss:.3f}" for name, loss in report.by_kind.items())
    return f"step {step}  evaluation loss {report.loss:.3f}  ({kinds})"


def music_line(step: int, report: MusicReport) -> str:
    """The main figure of each metric, and what it is compared with."""
    main = {name: figure for name, figure in report.figures.items() if "/" not in name and figure.value is not None}
    parts = (f"{name} {figure.text(figure.value)}{_compared(figure)}" for name, figure in main.items())
    return f"step {step}  music  {'  '.join(parts)}"


def copies_line(step: int, report: CopyReport) -> str:
    """The copy rates, and those of the base and of the composers' own bars."""
    return f"step {step}  copies  {'  '.join(_copy_rate(name, report) for name in report.rates)}"


def _copy_rate(name: str, report: CopyReport) -> str:
    rate, base = report.rates[name], report.base.get(name)
    compared = [
        *([] if base is None else [f"base {base.value:.0%}"]),
        *([f"own bars {rate.own:.0%}"] if name == HELD_OUT else []),
    ]
    return f"{name.replace('_', '-')} {rate.value:.0%}" + (f" ({', '.join(compared)})" if compared else "")


def _compared(figure: Figure) -> str:
    return "" if figure.baseline is None else f" ({figure.baseline_of} {figure.text(figure.baseline)})"


def progress_sink(console: Console, max_steps: int, every: int) -> ProgressBar | ProgressLines:
    """The bar in a terminal, lines elsewhere."""
    kind = ProgressBar if console.is_terminal else ProgressLines
    return kind(console, max_steps, every)
