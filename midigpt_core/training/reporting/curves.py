"""Draws the curves of a run from its ``metrics.jsonl`` as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midigpt_core import files
from midigpt_core.errors import DataError
from midigpt_core.terminal import printable
from midigpt_core.training.reporting import metrics_file
from midigpt_core.training.reporting.charts import png_bytes, sheet
from midigpt_core.training.reporting.run_charts import (
    column,
    evaluation_records,
    run_charts,
    step_records,
    tokens_text,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    Records = Sequence[dict[str, Any]]


def save_run_curves(path: str | os.PathLike[str], run: str | os.PathLike[str]) -> None:
    """Write :func:`run_curves` to ``path`` as a PNG, atomically."""
    files.write_bytes(path, png_bytes(run_curves(run)))


def run_curves(run: str | os.PathLike[str]) -> Figure:
    """A figure of the run in the folder ``run``, which may still be training.

    Raises :class:`midigpt_core.errors.DataError` if there is nothing to draw.
    """
    path = metrics_file.run_folder(run) / metrics_file.NAME
    records = metrics_file.records(path)
    steps = step_records(records)
    if not steps:
        raise DataError(f"{path}: contains no optimiser step. Give the folder of a run that has taken some.")
    return sheet(_heading(path.parent, steps, evaluation_records(records)), run_charts(records), x_label="steps")


def _heading(run: Path, steps: Records, evaluations: Records) -> str:
    facts = [f"{printable(run.resolve().name, 60)}: {steps[-1]['step']:,} steps, {tokens_text(steps)} tokens"]
    if evaluations:
        facts.append(f"evaluation loss {column(evaluations, 'eval_loss')[-1]:.3f}")
    return ", ".join(facts)
