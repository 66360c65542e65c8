"""Filters on the command line: what is counted, what is refused, and which corpus is found again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from midigpt_core.cli.main import main
from midigpt_core.components import ComponentRef
from midigpt_core.corpus.build import build
from support.corpus import GIGAMIDI, MIDI, SMALL

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = "midigpt_gigamidi.options:GigamidiOptions"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    music = [file.read_bytes() for file in MIDI[:6]]
    columns = {"music": pa.array(music, pa.binary()), "total_notes": [10, 20, 30, 40, 50, 0], "md5": list("abcdef")}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def ref(**options: Any) -> ComponentRef:
    return ComponentRef(
        kind="source", name="gigamidi", target=GIGAMIDI.target, options_class=OPTIONS, options=options
    )  # fmt: skip


def test_rows_dropped_are_counted_under_their_filter(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ("--set", "source.min_notes=25")
    code, said = run(capsys, "preprocess", path, *chosen)
    assert code == 0, said
    assert "min notes" in said
    code, said = run(capsys, "corpus", "info", path, *chosen, "--json")
    assert code == 0, said
    assert json.loads(said)["counts"] == {"kept": 3, "min_notes": 2, "no_notes": 1}
    code, said = run(capsys, "corpus", "info", path)
    assert code == 2
    assert "not preprocessed" in said


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("source.min_note=3", "min_notes"),
        ("source.min_notes=-1", "min_notes"),
        ("source.min_nomml=13", "min_nomml"),
        ('source.styles=["curatd"]', "curated"),
        ('source.instruments=["drum-only"]', "drums-only"),
        ('source.styles_in=[""]', "empty name"),
    ],
)
def test_a_wrong_option_is_named(
    path: Path, capsys: pytest.CaptureFixture[str], assignment: str, expected: str
) -> None:
    code, said = run(capsys, "preprocess", path, "--source", "gigamidi", "--set", assignment)
    assert code == 2, said
    assert expected in said
    assert said.count("\n") == 1


def test_limits_that_no_piece_meets_are_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ("--set", "source.min_bars=9", "--set", "source.max_bars=8")
    code, said = run(capsys, "preprocess", path, "--source", "gigamidi", *chosen)
    assert code == 2
    assert "source.min_bars = 9 is above source.max_bars = 8" in said


def test_other_settings_do_not_belong_to_a_corpus(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, "corpus", "info", path, "--set", "max_steps=3")
    assert code == 2
    assert "only options of the data source" in said


def test_only_options_that_change_rows_belong_to_the_key(path: Path, tmp_path: Path) -> None:
    cache = tmp_path / "other"
    (first,) = build(GIGAMIDI, [str(path)], cache=cache).shards
    same = ref(keep_downloads=False, styles=["curated", "scraped", "discogs", "lastfm", "tagtraum"])
    report = build(same, [str(path)], cache=cache)
    assert report.built == 0
    assert report.shards == [first]
    assert build(ref(min_notes=1), [str(path)], cache=cache).built == 1
    assert build(ref(min_notes=2), [str(path)], cache=cache).built == 1


def test_bars_are_counted_when_a_piece_is_parsed(tmp_path: Path) -> None:
    music = [*(file.read_bytes() for file in MIDI[:9]), b"no MIDI"]
    pq.write_table(pa.table({"music": pa.array(music, pa.binary())}), tmp_path / "a.parquet")
    whole = build(GIGAMIDI, [str(tmp_path)], cache=tmp_path / "cache")
    report = build(ref(min_bars=20, max_bars=60), [str(tmp_path)], cache=tmp_path / "cache")
    assert report.rows == whole.rows == 10
    assert report.counts["no_header"] == 1
    assert report.counts["min_bars"] > 0
    assert report.counts["max_bars"] > 0
    assert report.examples["min_bars"][0].startswith(f"{tmp_path / 'a.parquet'}: row ")


def test_an_encoder_whose_tokens_no_piece_can_fill_is_said_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    music = pa.array(SMALL[:4], pa.binary())
    pq.write_table(pa.table({"music": music}), tmp_path / "none.parquet")
    levels = pa.array([[12] * 20] * 4, pa.list_(pa.int16()))
    named = {"music": music, "genres_curated": ["rock"] * 4, "median_metric_depth": levels}
    pq.write_table(pa.table(named), tmp_path / "both.parquet")
    chosen = ("--encoder-config", "expressive", "--min-bars", 1)
    assert run(capsys, "preprocess", tmp_path / "none.parquet", *chosen)[0] == 0
    assert caplog.text.count("no piece of the data has a style name") == 1
    assert caplog.text.count("no track of the data has a NOMML level") == 1
    caplog.clear()
    assert run(capsys, "preprocess", tmp_path / "both.parquet", *chosen)[0] == 0
    assert caplog.text == ""
