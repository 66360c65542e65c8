"""A run's curves as a picture: every figure stands where its axes say, and nothing of it needs torch."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from midigpt_core.cli.main import main
from midigpt_core.errors import DataError
from midigpt_core.training import charts
from midigpt_core.training.charts import COLOURS, Chart, Line, sheet
from midigpt_core.training.curves import run_curves
from midigpt_core.training.run import train

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from training_parts import Configure

PLOT = (slice(68, 256), slice(58, 432))


def pixels(image: Image.Image, colour: tuple[int, int, int]) -> NDArray[np.intp]:
    """Rows and columns of the first chart's plot, edges left out, that have the colour: int[n, 2]."""
    plot = np.asarray(image)[PLOT][2:-2, 2:-2].astype(int)
    return np.argwhere((abs(plot - colour) < 40).all(axis=2)) + 2


def chart(values: list[float], **settings: object) -> Image.Image:
    line = Line(label="", x=np.arange(len(values), dtype=float), y=np.array(values), colour=COLOURS[0])
    return sheet("", [Chart(title="", lines=[line], **settings)], x_label="steps", columns=1)  # type: ignore[arg-type]


def test_a_value_stands_where_its_axis_says() -> None:
    rows = pixels(chart([5.0, 5.0, 9.0, 9.0], from_zero=True), COLOURS[0])
    # The axis ends at 10: 5 is its middle; the rise is in the second third.
    left, right = rows[rows[:, 1] < 120], rows[rows[:, 1] > 260]
    assert abs(left[:, 0] - 94).max() <= 2
    assert abs(right[:, 0] - 19).max() <= 2


def test_a_logarithmic_axis_has_equal_steps_for_equal_factors() -> None:
    rows = pixels(chart([1.0, 100.0, 10.0, 10.0], logarithmic=True), COLOURS[0])
    flat = rows[rows[:, 1] > 270]
    assert abs(flat[:, 0] - 94).max() <= 2


def test_a_value_that_is_no_number_leaves_a_gap() -> None:
    rows = pixels(chart([4.5, 4.5, float("nan"), 4.5, 4.5], from_zero=True), COLOURS[0])
    columns = np.unique(rows[:, 1])
    gap = (columns > 0.30 * 374) & (columns < 0.70 * 374)
    assert not gap.any()
    assert (columns < 0.2 * 374).any()
    assert (columns > 0.8 * 374).any()


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 8.3), (0.0, 0.0019), (-3.0, 3.0), (5.0, 5.0), (0.0, 0.0), (1e5, 1.2e5)]
)
def test_axes_are_labelled_at_round_values_around_all_others(low: float, high: float) -> None:
    ticks = charts._round_steps(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 8
    assert f"{ticks[1] - ticks[0]:.3e}"[:5] in {"1.000", "2.000", "5.000"}


@pytest.mark.parametrize(("low", "high"), [(0.6, 3.8), (1.0, 1.0), (1e-5, 3e4), (0.21, 0.22)])
def test_logarithmic_axes_too(low: float, high: float) -> None:
    ticks = charts._decades(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 12
    assert all(f"{tick:.0e}"[0] in "125" for tick in ticks)


def test_the_curves_of_a_run(configure: Configure, shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(configure(eval_steps=3), shard, shard).run_dir
    assert main(["curves", str(folder)]) == 0
    assert capsys.readouterr().out == f"The curves are {folder / 'curves.png'}.\n"
    with Image.open(folder / "curves.png") as image:
        image.load()
    # Eight charts, in two columns; the first has the loss of the training and of two evaluations.
    assert image.size == (1130, 1050)
    training, evaluation = pixels(image, COLOURS[0]), pixels(image, COLOURS[1])
    assert training[:, 1].max() > 360
    assert {round(column / (374 / 6)) for column in evaluation[:, 1]} >= {3, 6}


def test_a_run_that_is_writing_or_was_never_evaluated_has_curves(tmp_path: Path) -> None:
    lines = [
        json.dumps({"step": step, "loss": None if step == 2 else 4.5, "seconds": 1.0, "data_wait": 0.1, "mfu": 0.4})
        for step in range(1, 200)
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 4, "lo', encoding="utf-8")
    picture = run_curves(tmp_path)
    assert picture.size == (1130, 1050), "seven charts: none of evaluations, one of FLOPs"
    assert len(pixels(picture, COLOURS[0]))


def test_what_has_no_curves_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metrics\.jsonl: cannot be read \(No such file or directory\)\. Give the"):
        run_curves(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="has no optimiser step"):
        run_curves(tmp_path)


def test_curves_are_drawn_without_torch() -> None:
    code = "import sys, midigpt_core.training.curves; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
