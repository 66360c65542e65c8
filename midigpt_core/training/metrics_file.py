"""``metrics.jsonl``: one line per optimiser step and per evaluation, always written."""

from __future__ import annotations

import json
import math
from typing import IO, TYPE_CHECKING, Any

from midigpt_core.files import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from midigpt_core.training.losses import EvaluationReport
    from midigpt_core.training.steps import StepRecord

NAME = "metrics.jsonl"


class MetricsFile:
    """Appends to ``path``. A run that continues keeps the lines up to the step it continues from, and no other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: IO[str] | None = None

    def begin(self, first_step: int) -> None:
        kept = [line for line in self._lines() if _step_of(line) is not None and (_step_of(line) or 0) <= first_step]
        write_text(self._path, "".join(f"{line}\n" for line in kept) if first_step else "")
        self._stream = self._path.open("a", encoding="utf-8")

    def step(self, record: StepRecord) -> None:
        self._write(
            step=record.step,
            loss=record.loss,
            learning_rate=record.learning_rate,
            gradient_norm=record.gradient_norm,
            tokens=record.tokens,
            predicted=record.predicted,
            tokens_per_second=round(record.tokens_per_second, 1),
            padding=round(record.padding, 5),
            overflows=record.overflows,
            seconds=round(record.seconds, 5),
            data_wait=round(record.data_wait, 5),
            **({} if record.flops_utilisation is None else {"mfu": round(record.flops_utilisation, 4)}),
            **{f"tokens/{name}": tokens for name, tokens in record.tokens_by_set.items()},
        )

    def evaluation(self, step: int, report: EvaluationReport) -> None:
        self._write(step=step, **report.scalars())

    def end(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _lines(self) -> list[str]:
        return self._path.read_text(encoding="utf-8", errors="replace").splitlines() if self._path.exists() else []

    def _write(self, **values: Any) -> None:
        if self._stream is None:
            return
        finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
        self._stream.write(json.dumps(finite) + "\n")
        self._stream.flush()


def _step_of(line: str) -> int | None:
    """The step of a line; None if a dying process left it half written."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None
