"""Clock, metrics file and terminal."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from rich.console import Console

from midigpt_core.training.loop.losses import EvaluationReport
from midigpt_core.training.processes.clock import StepClock
from midigpt_core.training.reporting.metrics_file import MetricsFile
from midigpt_core.training.reporting.progress import Forecast, ProgressBar, ProgressLines, progress_sink
from midigpt_core.training.reporting.steps import StepRecord

if TYPE_CHECKING:
    from pathlib import Path


def record(step: int, loss: float = 2.0) -> StepRecord:
    return StepRecord(
        step=step,
        loss=loss,
        learning_rate=1e-4,
        gradient_norm=0.5,
        tokens=1000,
        predicted=990,
        padding=0.01,
        seconds=0.5,
        data_wait=0.1,
    )


REPORT = EvaluationReport(
    loss=3.0,
    tokens=10,
    by_kind={"ar": 3.0},
    by_group={"structure": 3.0},
    by_type={"Bar": 3.0},
    tokens_by_kind={"ar": 10},
    tokens_by_group={"structure": 10},
    tokens_by_type={"Bar": 10},
)


class FakeTime:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_clock_leaves_pauses_out_and_counts_waiting() -> None:
    now = FakeTime()
    clock = StepClock(now)
    now.seconds = 1.0
    with clock.waiting():
        now.seconds = 3.0
    with clock.paused():
        now.seconds = 13.0
    now.seconds = 14.0
    assert clock.lap() == (4.0, 2.0)
    now.seconds = 15.0
    assert clock.lap() == (1.0, 0.0)


def lines(path: Path) -> list[dict[str, float | None]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_metrics_are_there_as_soon_as_they_are_told(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    metrics.begin(0)
    metrics.step(record(1, loss=float("nan")))
    metrics.evaluation(1, REPORT)
    step, evaluation = lines(path)
    assert step["loss"] is None
    assert (step["tokens_per_second"], step["data_wait"]) == (2000.0, 0.1)
    assert evaluation == {"step": 1, "eval_loss": 3.0, "eval_loss/ar": 3.0, "eval_loss/structure": 3.0}
    metrics.end()


def test_a_run_that_continues_drops_the_lines_it_will_write_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path)
    first.begin(0)
    for step in range(1, 6):
        first.step(record(step))
    first.end()
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"step": 3, "lo')  # killed while writing
    second = MetricsFile(path)
    second.begin(3)
    second.step(record(4))
    second.end()
    assert [line["step"] for line in lines(path)] == [1, 2, 3, 4]


def test_a_new_run_starts_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 7}\n', encoding="utf-8")
    metrics = MetricsFile(path)
    metrics.begin(0)
    metrics.end()
    assert lines(path) == []


def test_a_pipe_gets_plain_lines() -> None:
    stream = io.StringIO()
    sink = progress_sink(Console(file=stream), max_steps=5, every=2)
    assert isinstance(sink, ProgressLines)
    sink.begin(0)
    for step in range(1, 6):
        sink.step(record(step, loss=float(step)))
    sink.evaluation(5, REPORT)
    sink.end()
    first, second, last, evaluation = stream.getvalue().splitlines()
    assert first == "step 2/5  loss 1.500  lr 1.00e-04  2,000 tokens/s  eta 0:00:02"
    assert second.startswith("step 4/5  loss 3.500")
    assert last.startswith("step 5/5  loss 5.000")
    assert evaluation == "step 5  evaluation loss 3.000  (ar 3.000)"


def test_a_terminal_gets_a_bar() -> None:
    stream = io.StringIO()
    sink = progress_sink(Console(file=stream, force_terminal=True, width=120), max_steps=4, every=1)
    assert isinstance(sink, ProgressBar)
    sink.begin(2)
    for step in (3, 4):
        sink.step(record(step))
    sink.evaluation(4, REPORT)
    sink.end()
    shown = stream.getvalue()
    assert "4/4" in shown
    assert "loss 2.000 · 2,000 tokens/s" in shown
    assert "evaluation loss 3.000" in shown


def test_a_long_run_says_after_its_first_step_how_long_it_takes() -> None:
    output = io.StringIO()
    forecast = Forecast(Console(file=output, width=80), 100_000)
    forecast.begin(0)
    forecast.step(record(1))
    forecast.step(record(2))
    assert output.getvalue().count("100,000 steps like the first, of 0.5 s, take 13:53:20") == 1
    assert "--minutes 15" in output.getvalue()


def test_a_long_run_that_continues_says_nothing() -> None:
    output = io.StringIO()
    forecast = Forecast(Console(file=output), 100_000)
    forecast.begin(5)
    forecast.step(record(6))
    assert not output.getvalue()
