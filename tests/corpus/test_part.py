"""Parts of the shards: each shard belongs to one, and together they are what one machine builds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from midigpt_core.cli.main import main
from midigpt_core.corpus.build import build
from midigpt_core.corpus.part import Part
from support.corpus import GIGAMIDI, digests, write_shards

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("items", [0, 1, 5, 16, 40])
def test_each_item_belongs_to_one_part(parts: int, items: int) -> None:
    found = [list(Part(number, parts).of(range(items))) for number in range(1, parts + 1)]
    assert sorted(item for part in found for item in part) == list(range(items))
    assert max(map(len, found)) - min(map(len, found)) <= 1


@pytest.mark.parametrize("text", ["1/1", "3/16", "16/16"])
def test_a_part_is_read_as_it_is_written(text: str) -> None:
    assert str(Part.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "x", "", "1", "1/", "/4", "1/0", "-1/4", "1/4/2", "1.5/4", "²/4", "1 / 4"]
)
def test_a_wrong_part_is_one_line(tmp_path: Path, capsys: Any, text: str) -> None:
    assert main(["preprocess", "--data", str(tmp_path), f"--part={text}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("Error: Invalid value for '--part': ")
    assert "Write" in error


def test_parts_together_are_the_corpus_of_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    paths = write_shards(tmp_path / "data", 5, 30)
    alone = build(GIGAMIDI, paths, cache=tmp_path / "alone")
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "shared"))
    data = ["preprocess", "--data", str(tmp_path / "data")]
    for part, shards in (("1/3", 2), ("2/3", 2), ("3/3", 1)):
        assert main([*data, "--part", part]) == 0
        counted = "1 shard" if shards == 1 else f"{shards} shards"
        assert f"Part {part}: {counted}, {shards} built now, in" in capsys.readouterr().out
    assert main([*data, "--encoder-config", "yellow", "--min-bars", "1"]) == 0
    assert "5 shards, 0 built now, in" in capsys.readouterr().out
    assert digests(build(GIGAMIDI, paths, cache=tmp_path / "shared")) == digests(alone)


def test_a_part_without_shards_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """An array may have more tasks than there are shards."""
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    write_shards(tmp_path / "data", 1, 5)
    for encoder in ([], ["--encoder-config", "yellow"]):
        assert main(["preprocess", "--data", str(tmp_path / "data"), "--part", "2/2", *encoder]) == 0
        assert "Part 2/2: 0 shards, 0 built now, in" in capsys.readouterr().out


def test_a_part_may_hold_nothing_for_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    write_shards(tmp_path / "data", 2, 5)
    preprocess = ["preprocess", "--data", str(tmp_path / "data"), "--encoder-config", "yellow", "--min-tracks", "99"]
    assert main([*preprocess, "--part", "1/2"]) == 0
    assert "pieces of the corpus" in capsys.readouterr().out
    assert main(preprocess) == 2
