"""A run's curves as a picture: they are the run's figures, and nothing of it needs torch."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import dictionaries, floats, integers, lists, none, one_of, sampled_from, text
from matplotlib.figure import Figure
from PIL import Image

from midigpt_core.cli.main import main
from midigpt_core.errors import DataError
from midigpt_core.training.reporting import metrics_file
from midigpt_core.training.reporting.chart_data import COLOURS, Chart, Line
from midigpt_core.training.reporting.charts import png_bytes, sheet
from midigpt_core.training.reporting.curves import run_curves
from midigpt_core.training.run import train

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from numpy.typing import NDArray

    from support.training import Configure


def drawn(axes: Axes) -> dict[str, Line2D]:
    """A chart's lines by their label, the pale ones aside."""
    return {str(line.get_label()): line for line in axes.lines if not str(line.get_label()).startswith("_")}


def only_chart(values: list[float], **settings: object) -> Axes:
    line = Line(label="a", x=np.arange(len(values), dtype=float), y=np.array(values), colour=COLOURS[0])
    figure = sheet("", [Chart(title="", lines=[line], **settings)], x_label="steps", columns=1)  # type: ignore[arg-type]
    return figure.axes[0]


def test_an_axis_starts_at_zero_if_asked_to() -> None:
    assert only_chart([5.0, 9.0], from_zero=True).get_ylim()[0] == 0
    assert only_chart([5.0, 9.0]).get_ylim()[0] > 4


@pytest.mark.parametrize(("low", "high"), [(0.21, 0.22), (1.0, 1.0), (0.6, 3.8), (0.02, 7.0), (1e-5, 3e4)])
@pytest.mark.parametrize("logarithmic", [True, False])
def test_axes_are_labelled(low: float, high: float, logarithmic: bool) -> None:
    axes = only_chart([low, high], logarithmic=logarithmic)
    bottom, top = axes.get_ylim()
    assert bottom <= low <= high <= top
    assert 2 <= sum(bottom <= tick <= top for tick in axes.get_yticks()) <= 12


def test_a_logarithmic_axis_is_one() -> None:
    assert only_chart([1.0, 100.0], logarithmic=True).get_yscale() == "log"
    assert only_chart([1.0, 100.0]).get_yscale() == "linear"


def test_a_value_that_is_no_number_leaves_a_gap() -> None:
    picture = png(only_chart([4.5, 4.5, float("nan"), 4.5, 4.5], from_zero=True))
    columns = np.unique(np.argwhere(is_colour(picture, COLOURS[0]))[:, 1])
    gaps = np.diff(columns)
    # Of four steps the two around the missing value are not drawn; the legend's line is apart from the others too.
    longest = int(gaps.argmax())
    left, right = columns[longest] - columns[0], columns[longest + 1] - columns[longest]
    assert 1.7 * left < right < 2.3 * left


def png(axes: Axes) -> NDArray[np.uint8]:
    figure = axes.figure
    assert isinstance(figure, Figure)
    with Image.open(io.BytesIO(png_bytes(figure))) as image:
        return np.asarray(image.convert("RGB"))


def is_colour(picture: NDArray[np.uint8], colour: str) -> NDArray[np.bool_]:
    wanted = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])
    near: NDArray[np.bool_] = (abs(picture.astype(int) - wanted) < 40).all(axis=2)
    return near


def test_the_users_own_style_changes_nothing() -> None:
    plain = png(only_chart([1.0, 2.0]))
    with mpl.rc_context({"lines.linewidth": 20, "axes.facecolor": "black", "savefig.dpi": 30}):
        assert (png(only_chart([1.0, 2.0])) == plain).all()


def test_the_curves_of_a_run(configure: Configure, shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(configure(eval_steps=3), shard, shard).run_dir
    assert main(["curves", str(folder)]) == 0
    assert capsys.readouterr().out == f"Wrote {folder / 'curves.png'}.\n"
    with Image.open(folder / "curves.png") as image:
        image.load()
        assert image.width > 1000
    written = (folder / "curves.png").read_bytes()
    assert main(["curves", str(folder)]) == 0
    assert (folder / "curves.png").read_bytes() == written
    assert main(["curves", str(folder / "metrics.jsonl")]) == 0
    assert (folder / "curves.png").read_bytes() == written

    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    figure = run_curves(folder)
    assert len(figure.axes) == 8
    losses = drawn(figure.axes[0])
    assert list(losses) == ["training", "evaluation"]
    assert losses["training"].get_ydata() == pytest.approx([record["loss"] for record in records if "loss" in record])
    assert list(losses["evaluation"].get_xdata()) == [3, 6]
    evaluated = [record["eval_loss"] for record in records if "eval_loss" in record]
    assert losses["evaluation"].get_ydata() == pytest.approx(evaluated)
    assert drawn(figure.axes[1])


def test_a_run_that_is_writing_or_was_never_evaluated_has_curves(tmp_path: Path) -> None:
    lines = [
        json.dumps({"step": step, "loss": None if step == 2 else 4.5, "seconds": 1.0, "data_wait": 0.1, "mfu": 0.4})
        for step in range(1, 200)
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 4, "lo', encoding="utf-8")
    figure = run_curves(tmp_path)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == 7, "none of evaluations, one of FLOPs"
    assert any("FLOPs" in title for title in titles)
    # Each value, pale, and behind the mean of those around it.
    pale, mean = figure.axes[0].lines
    assert np.isnan(pale.get_ydata()[1])
    assert list(mean.get_ydata()) == pytest.approx([4.5] * 199)


def test_what_has_no_curves_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metrics\.jsonl: cannot be read \(No such file or directory\)\. Give the"):
        run_curves(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="contains no optimiser step"):
        run_curves(tmp_path)


#: Values that no run writes to its metrics: deep, huge, of another type.
HOSTILE = [
    "[" * 100_000,
    '{"step": 1, "loss": ' + "[" * 50_000,
    json.dumps({"step": 10**400, "loss": 1.0}),
    '{"step": 3, "loss": ' + "9" * 5000 + "}",
    json.dumps({"step": 4, "loss": 10**400, "seconds": 1e-320, "data_wait": 1e308}),
    json.dumps({"step": 5, "loss": 1e308, "gradient_norm": 1e308, "tokens": 1e308}),
    '{"step": 6, "loss": 1e999, "gradient_norm": -1e999, "tokens": NaN}',
    json.dumps({"step": True, "loss": True}),
    json.dumps({"step": -1, "loss": 1.0}),
    json.dumps({"step": 2**53, "loss": {"deep": []}}),
    json.dumps({"step": 7, "eval_loss": 2.0, "eval_loss/$\\frac{": 1.0, "eval_loss/\x1b[2J\n": 1.0}),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "lines", [pytest.param([[line] for line in HOSTILE], id="alone", marks=pytest.mark.slow), [HOSTILE]]
)
def test_metrics_that_no_run_wrote_are_drawn_as_far_as_they_go(lines: list[list[str]], tmp_path: Path) -> None:
    folder = tmp_path / "$\\frac{ 音楽 \x1b[2J \udcff"
    folder.mkdir()
    good = json.dumps({"step": 2, "loss": 4.5, "seconds": 1.0, "data_wait": 0.1, "gradient_norm": 2.0})
    for some in lines:
        (folder / "metrics.jsonl").write_text("\n".join([good, *some]), encoding="utf-8")
        figure = run_curves(folder)
        assert next(iter(drawn(figure.axes[0])["training"].get_ydata())) == 4.5
        assert png_bytes(figure).startswith(b"\x89PNG")


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    lines=lists(
        dictionaries(
            sampled_from(["step", "loss", "eval_loss", "eval_loss/ar", "seconds", "data_wait", "gradient_norm", "mfu"]),
            one_of(integers(), floats(), text(max_size=5), none(), lists(integers(), max_size=2)),
        )
    )
)
def test_any_metrics_are_drawn_or_refused(
    lines: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    lines = [{"step": 1, "loss": 1.0}, *lines]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert png_bytes(run_curves(folder)).startswith(b"\x89PNG")


def test_a_line_of_any_length_is_passed_over(tmp_path: Path) -> None:
    """Without being held in memory: a file may be gigabytes of anything."""
    with (tmp_path / "metrics.jsonl").open("wb") as stream:
        stream.write(b'{"step": 1, "loss": 2.0}\n')
        stream.truncate(64 << 20)
        stream.seek(64 << 20)
        stream.write(b'\n{"step": 2, "loss": 1.0}\n')
    tracemalloc.start()
    found = metrics_file.records(tmp_path / "metrics.jsonl")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [record["step"] for record in found] == [1, 2]
    assert peak < 8 << 20


def test_a_pipe_is_no_metrics(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(DataError, match="is a named pipe"):
        run_curves(tmp_path)


def test_curves_are_drawn_without_torch() -> None:
    code = "import sys, midigpt_core.training.reporting.curves; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
