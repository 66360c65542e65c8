"""``metrics.jsonl``: one line per optimiser step and per evaluation, always written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midigpt_core.errors import DataError
from midigpt_core.files import explained, open_regular, write_text

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from io import FileIO

    from midigpt_core.music.measuring import MusicReport
    from midigpt_core.training.loop.losses import EvaluationReport
    from midigpt_core.training.reporting.copy_rates import CopyReport
    from midigpt_core.training.reporting.steps import StepRecord

NAME = "metrics.jsonl"
#: The largest integer that floats represent exactly; no run has as many steps.
_LAST_STEP = 2**53
#: The most bytes of a line. An evaluation with every part takes a few thousand.
_LONGEST_LINE = 1 << 20


def run_folder(run: str | os.PathLike[str]) -> Path:
    """The folder of a run, given the folder or its metrics file."""
    path = Path(run)
    return path.parent if path.name == NAME else path


def records(path: Path) -> list[dict[str, Any]]:
    """The figures of each line. Broken lines, which a killed process may leave, are skipped.

    Raises :class:`midigpt_core.errors.DataError` for a file that cannot be read.
    """
    return [record for record, _ in _lines(path)]


def records_and_skipped(path: Path) -> tuple[list[dict[str, Any]], int]:
    """:func:`records`, and how many lines were skipped."""
    found = [record for record, _ in _lines(path, skip=False)]
    return [record for record in found if record], sum(not record for record in found)


def _lines(path: Path, *, skip: bool = True) -> Iterator[tuple[dict[str, Any], str]]:
    """The record and the text of each line; ``skip``: without broken lines, whose record is empty."""
    try:
        with open_regular(path) as stream:
            # A line over the limit comes in parts, and no part parses as a record.
            while part := stream.readline(_LONGEST_LINE):
                line = part.decode("utf-8", "replace").rstrip("\n")
                record = _record(line)
                if record or not skip:
                    yield record, line
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Give the folder of a run.") from error


def _record(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(record, dict):
        return {}
    step = record.get("step")
    return record if type(step) is int and 0 <= step <= _LAST_STEP else {}


class MetricsFile:
    """Appends to ``path``. A resumed run keeps the lines up to the step it resumes from and drops the others."""

    def __init__(self, path: Path, require_there: Callable[[], None] = lambda: None) -> None:
        """``require_there`` is called before each write and raises if the write would be lost."""
        self._path = path
        self._require_there = require_there
        self._stream: FileIO | None = None

    def begin(self, first_step: int) -> None:
        lines = _lines(self._path) if first_step and self._path.exists() else ()
        kept = [line for record, line in lines if record["step"] <= first_step]
        write_text(self._path, "".join(f"{line}\n" for line in kept))
        with explained(self._path):
            # Unbuffered, so that bytes that a full disk rejects are not written again at the end.
            self._stream = self._path.open("ab", buffering=0)

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

    def music(self, step: int, report: MusicReport) -> None:
        self._write(step=step, **report.scalars())

    def copies(self, step: int, report: CopyReport) -> None:
        self._write(step=step, **report.scalars())

    def end(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _write(self, **values: Any) -> None:
        if self._stream is None:
            return
        finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
        self._require_there()
        rest = memoryview(json.dumps(finite).encode() + b"\n")
        with explained(self._path):
            # A disk that fills up accepts a part; the next write raises.
            while rest:
                rest = rest[self._stream.write(rest) :]
