"""What the bench says is what it measured: rows, table, comparison, turns, and the corpus that it measures on."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench import compare, corpus, profile, results, rows
from bench.baseline_process import BaselineError, BaselineProcess
from bench.measure import Measured, one_thread, take_turns, wall
from bench.results import Group
from bench.rows import Row
from midigpt_core.score.reading import read_batch

MACHINE = {"cores": 2, "cpu": "a CPU", "system": "Linux x86_64", "python": "3.11.7", "load_before": 0.5}


def a_row(name: str = "work", **more: object) -> Row:
    values: dict[str, object] = {"unit": "files/s", "ours": 300.0, "how": "by hand"} | more
    return Row(name=name, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("required", "ours", "theirs", "met"),
    [
        (rows.ratio_at_least(2), 300.0, 150.0, True),
        (rows.ratio_at_least(2), 299.0, 150.0, False),
        (rows.ratio_at_most(1.3), 1.2, 1.0, True),
        (rows.ratio_at_most(1.3), 1.4, 1.0, False),
        (rows.at_most(50), 49.0, None, True),
        (rows.at_least(0.01), 0.001, None, False),
        (rows.ratio_at_least(2), 300.0, None, None),
        (None, 300.0, 1.0, None),
    ],
)
def test_a_row_is_met_by_its_ratio_or_by_itself(
    required: rows.Required | None, ours: float, theirs: float | None, met: bool | None
) -> None:
    assert a_row(ours=ours, theirs=theirs, required=required).is_met is met


def test_results_survive_their_file_and_the_table_names_what_is_not_met() -> None:
    group = Group(
        date="2026-11-25T10:00+00:00",
        machine=MACHINE,
        rows=[a_row("fast", theirs=1.0, against="them", required=rows.ratio_at_least(400)), a_row("alone")],
    )
    assert results.parse(results.render_json({"reading": group})) == {"reading": group}
    table = results.render_table({"reading": group})
    assert "| fast | 300 files/s | them: 1 files/s | 300× | ≥ 400× | **no** |" in table
    assert "| alone | 300 files/s | – | – | – | – |" in table
    assert "Measured 2026-11-25, 2 cores of a CPU" in table


def test_the_table_is_of_the_rounded_figures_that_the_json_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {"JSON_PATH": tmp_path / "latest.json", "TABLE_PATH": tmp_path / "latest.md"}
    for name, path in paths.items():
        monkeypatch.setattr(results, name, path)
    exact = Group(date="2026-11-25", machine=MACHINE, rows=[a_row(ours=86612.345, theirs=18.5249, against="them")])
    results.write({"stream": exact})
    kept = results.parse(results.JSON_PATH.read_text(encoding="utf-8"))
    assert results.render_table({"stream": exact}) != results.render_table(kept), "nothing was rounded"
    assert results.TABLE_PATH.read_text(encoding="utf-8") == results.render_table(kept)


def test_compare_gives_ratios_and_names_what_came_and_went() -> None:
    before = {"g": Group(date="", machine=MACHINE, rows=[a_row("same", theirs=100.0), a_row("old")])}
    now = {"g": Group(date="", machine=MACHINE, rows=[a_row("same", ours=600.0, theirs=100.0), a_row("fresh")])}
    lines = [line.split() for line in compare.changes(before, now)][1:]
    assert lines == [["2.00", "2.00", "g:", "same"], ["gone", "g:", "old"], ["new", "g:", "fresh", "(300", "files/s)"]]


def test_contenders_take_turns_and_a_first_round_is_not_counted() -> None:
    order: list[str] = []

    def work(name: str, amount: float) -> float:
        order.append(name)
        return amount

    measured = take_turns(
        {"a": wall(lambda: work("a", 1.0)), "b": one_thread(lambda: work("b", 2.0)), "absent": None}, repeats=2
    )
    assert order == ["a", "b"] * 3
    assert {name: len(one.samples) for name, one in measured.items()} == {"a": 2, "b": 2}
    assert Measured([1.0, 5.0, 3.0]).scaled(2).median == 6.0


def test_processor_seconds_do_not_count_waiting() -> None:
    def wait() -> float:
        time.sleep(0.05)
        return 1.0

    assert wall(wait)().seconds >= 0.05
    assert one_thread(wait)().seconds < 0.05


def test_a_profile_is_a_table_of_its_largest_shares() -> None:
    lines = [
        "# Samples: 1K",
        "#",
        "  83.98% |_native.so   |[.] read",
        "   2.00% |libc.so.6|[.] memmove",
        "   0.10%|x|[k] y",
    ]
    report = "\n".join([*lines, "", ""])
    assert list(profile.table(report, "dso,sym")) == [
        "| % | library | function |",
        "|---|---|---|",
        "| 83.98 | _native.so | [.] read |",
        "| 2.00 | libc.so.6 | [.] memmove |",
    ]


def test_a_generated_piece_is_a_function_of_its_number_and_reads_as_asked() -> None:
    file = corpus.generate(7, num_notes=500, num_tracks=3)
    assert file == corpus.generate(7, num_notes=500, num_tracks=3)
    assert file != corpus.generate(8, num_notes=500, num_tracks=3)
    result = read_batch(file, np.array([0, len(file)]))
    assert result.status.tolist() == [0]
    assert result.columns.track_offsets.tolist() == [0, 3]
    # Notes that start while the same pitch sounds may be joined to it.
    assert 450 <= result.columns.note_offsets[-1] <= 503


def test_the_spread_is_that_of_real_files() -> None:
    notes, tracks = corpus._spread(1000)
    assert np.quantile(notes, [0.5, 0.9, 0.99]) == pytest.approx([420, 5_000, 16_000], rel=0.03)
    assert np.quantile(tracks, [0.5, 0.9, 0.99]).round().tolist() == pytest.approx([2, 4, 40], rel=0.03)


def test_a_baseline_script_that_ends_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text("raise SystemExit(3)")
    (tmp_path / "good.py").write_text("for _ in iter(input, ''): print('{\"seconds\": 0.5, \"work\": 2}', flush=True)")
    monkeypatch.setattr("bench.baseline_process.SCRIPTS", tmp_path)
    python = Path(sys.executable)
    with BaselineProcess(python, "good.py", cache=tmp_path) as baseline:
        assert baseline().work == 2
    with (
        BaselineProcess(python, "broken.py", cache=tmp_path) as baseline,
        pytest.raises(BaselineError, match=r"bench/baseline/broken\.py ended with code 3"),
    ):
        baseline()
