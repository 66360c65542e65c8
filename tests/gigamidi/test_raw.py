"""GigaMIDI's raw layout: zips inside a zip, and a CSV whose rows are found by the md5 that a file is named after."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import pickle
import zipfile
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from midigpt_gigamidi.options import GigamidiOptions
from midigpt_gigamidi.raw import read_metadata
from midigpt_gigamidi.source import build as build_source

from midigpt_core.cli.main import main
from midigpt_core.components import ComponentRef
from midigpt_core.contracts import SourceContext
from midigpt_core.corpus.build import build
from midigpt_core.corpus.store import open_corpus
from midigpt_core.errors import DataError
from support.corpus import SMALL

if TYPE_CHECKING:
    from pathlib import Path

V1 = ("md5", "NOMML", "genres_curated", "num_tracks", "total_notes", "artist", "tempo", "title")
OLD = ("md5", "median_metric_depth", "genres_scraped")


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


@pytest.fixture
def music() -> dict[str, bytes]:
    """Different files by md5."""
    return {hashlib.md5(data, usedforsecurity=False).hexdigest(): data for data in SMALL}


@pytest.fixture
def raw(tmp_path: Path, music: dict[str, bytes]) -> Path:
    """``<set>/<letter>/<md5>.mid`` in a zip in a zip, with a file that is no MIDI and one that the CSV lacks."""
    inner = {f"all/{md5[0]}/{md5}.mid": data for md5, data in music.items()}
    inner["all/unknown.mid"] = SMALL[0]
    inner["all/notes.txt"] = b"no music"
    path = tmp_path / "GigaMIDI.zip"
    path.write_bytes(zipped({"training.zip": zipped(inner), "README.txt": b"hello"}))
    return path


def write_csv(path: Path, names: tuple[str, ...], rows: list[tuple[object, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        writer.writerows(rows)
    return path


@pytest.fixture
def metadata(tmp_path: Path, music: dict[str, bytes]) -> Path:
    """Lists as text; every second piece is expressive jazz, and the first has a title of two lines."""
    rows = [
        (
            md5.upper() if index == 1 else md5,
            "[12, 12, 12, 12]" if index % 2 == 0 else "[-1, 3, 0]",
            "['Jazz', \"rock 'n' roll\"]" if index % 2 == 0 else "['Folk']",
            "4",
            "0" if index == 3 else "100",
            "Someone, Somebody",
            "120.0",
            "one line,\nand another" if index == 0 else "",
        )
        for index, md5 in enumerate(music)
    ]
    return write_csv(tmp_path / "metadata.csv", V1, [*rows, rows[0], ("f" * 32, "", "", "", "", "", "", "")])


def component(metadata: Path, **options: Any) -> ComponentRef:
    options = {"metadata": str(metadata), **options}
    return ComponentRef(
        kind="source", name="gigamidi", target="midigpt_gigamidi.source:build",
        options_class="midigpt_gigamidi.options:GigamidiOptions", options=options,
    )  # fmt: skip


def test_metadata_is_joined_by_md5(raw: Path, metadata: Path, music: dict[str, bytes], tmp_path: Path) -> None:
    report = build(component(metadata), [str(raw)], cache=tmp_path / "cache")
    # The row that says that there are no notes is left out; the file without a row is a piece.
    assert report.counts["no_notes"] == 1
    assert sum(report.counts.values()) == len(music) + 1
    opened = open_corpus(report.shards)
    shard = opened.files[0].shard
    genres = [
        bytes(shard.pieces.genre_bytes[start:end]).decode()
        for start, end in zip(shard.pieces.genre_offsets[:-1], shard.pieces.genre_offsets[1:], strict=True)
    ]
    ids = [
        bytes(shard.pieces.id_bytes[start:end]).decode()
        for start, end in zip(shard.pieces.id_offsets[:-1], shard.pieces.id_offsets[1:], strict=True)
    ]
    by_md5 = dict(zip(ids, genres, strict=True))
    expected = {
        md5: "Jazz,rock 'n' roll" if index % 2 == 0 else "Folk" for index, md5 in enumerate(music) if index != 3
    }
    assert by_md5 == {**expected, "unknown": ""}
    firsts = shard.columns.track_offsets
    levels = {md5: shard.columns.track_nomml[firsts[index] : firsts[index + 1]] for index, md5 in enumerate(ids)}
    for index, md5 in enumerate(music):
        if index != 3 and len(levels[md5]):
            assert levels[md5][0] == (12 if index % 2 == 0 else -1)
    assert (levels["unknown"] == -1).all()


def test_columns_are_kept_as_text(raw: Path, metadata: Path, music: dict[str, bytes], tmp_path: Path) -> None:
    """Also those that have a role, and of a file without a row nothing."""
    names = [V1[-1], V1[3]]
    report = build(component(metadata, columns=names), [str(raw)], cache=tmp_path / "cache")
    found: dict[str, tuple[str | None, ...]] = {}
    for shard in open_corpus(report.shards).corpus.shards:
        ends = shard.pieces.id_offsets.tolist()
        ids = [bytes(shard.pieces.id_bytes[a:b]).decode() for a, b in pairwise(ends)]
        found |= zip(ids, zip(*(shard.metadata[name].to_pylist() for name in names), strict=True), strict=True)
    assert found == {
        **{md5: ("one line,\nand another" if n == 0 else None, "4") for n, md5 in enumerate(music) if n != 3},
        "unknown": (None, None),
    }


@pytest.mark.parametrize(
    "options",
    [{"min_nomml": 12}, {"styles_in": ["rock 'n' ROLL"]}, {"styles_out": ["folk"]}],
    ids=["nomml", "in", "out"],
)
def test_filters_choose_files_before_they_are_read(
    raw: Path, metadata: Path, music: dict[str, bytes], tmp_path: Path, options: dict[str, Any]
) -> None:
    (reason,) = options
    report = build(component(metadata, **options), [str(raw)], cache=tmp_path / "cache")
    assert sum(report.counts.values()) == len(music) + 1
    without = [md5 for index, md5 in enumerate(music) if index % 2 and index != 3]
    # A file without a row has no style: it fails what asks for one.
    assert report.counts[reason] == len(without) + (reason != "styles_out")


def test_the_columns_of_v1_are_read_from_a_csv(raw: Path, music: dict[str, bytes], tmp_path: Path) -> None:
    path = write_csv(tmp_path / "v1.csv", OLD, [(md5, "[5]", "['Waltz']") for md5 in music])
    (shard, *_) = build_source(
        GigamidiOptions(metadata=str(path)), SourceContext(paths=(str(raw),), hash_file=lambda _: "hash")
    ).shards()
    (batch,) = shard.batches()
    assert set(batch.genre.to_pylist()) == {"Waltz", None}
    assert [5] in batch.nomml.to_pylist()
    assert len(batch.row) == len(np.unique(batch.row)) == len(music) + 1


def test_names_that_are_no_md5_may_have_any_letters(raw: Path, music: dict[str, bytes], tmp_path: Path) -> None:
    """A key that is not ASCII matches the file of that name alone, on either side."""
    first, *_ = music
    files = {f"{first}.mid": SMALL[0], "été.mid": SMALL[1], "???.mid": SMALL[2]}
    raw.write_bytes(zipped(files))
    path = write_csv(tmp_path / "some.csv", OLD, [("été", "", "['Été']"), (first, "[5]", "['Waltz']")])
    (shard, *_) = build_source(
        GigamidiOptions(metadata=str(path)), SourceContext(paths=(str(raw),), hash_file=lambda _: "hash")
    ).shards()
    (batch,) = shard.batches()
    assert dict(zip(batch.ids.to_pylist(), batch.genre.to_pylist(), strict=True)) == {
        first: "Waltz", "été": "Été", "???": None,
    }  # fmt: skip


def test_addresses_on_the_hub_are_refused(metadata: Path) -> None:
    options, context = GigamidiOptions(metadata=str(metadata)), SourceContext(paths=("hf://datasets/some/one/*.zip",))
    with pytest.raises(DataError, match=r"hf://datasets/some/one/\*\.zip: source\.metadata is for archives on this"):
        build_source(options, context).shards()


def test_other_metadata_makes_another_corpus(raw: Path, metadata: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = build(component(metadata), [str(raw)], cache=cache)
    assert build(component(metadata), [str(raw)], cache=cache).built == 0
    moved = metadata.rename(tmp_path / "elsewhere.csv")
    assert build(component(moved), [str(raw)], cache=cache).shards == first.shards
    moved.write_text(moved.read_text().replace("Jazz", "Swing"))
    assert build(component(moved), [str(raw)], cache=cache).shards != first.shards


def test_shards_can_be_sent_to_another_process(raw: Path, metadata: Path) -> None:
    context = SourceContext(paths=(str(raw),))
    (shard, *_) = build_source(GigamidiOptions(metadata=str(metadata)), context).shards()
    sent = pickle.dumps(shard)
    assert len(sent) < 100_000
    (batch,) = pickle.loads(sent).batches()
    assert batch.ids.to_pylist() == next(iter(shard.batches())).ids.to_pylist()


@pytest.mark.parametrize("blocks", [0, 1])
def test_a_row_that_never_ends_is_named(tmp_path: Path, blocks: int) -> None:
    """Its field swallows the rows after it. It may stand behind the first 8 MB, and a title may look like a number."""
    path = tmp_path / "meta.csv"
    rows = "".join(f"{number:032x},{number}\n" for number in range(700))
    before = rows * 350 * blocks + "".join(f"{number:032x},song\n" for number in range(700))
    path.write_text("md5,title\n" + before + f'{7:032x},"song\n' + rows * 700)
    row = before.count("\n") + 1
    with pytest.raises(DataError, match=rf"meta\.csv: row {row:,} is longer than 8 MB\. A quotation mark .*Correct"):
        read_metadata(path, GigamidiOptions(metadata=str(path)))


@pytest.mark.parametrize("title", ['"song\n', '"a ""song""\n', '"été\r\n'])
def test_a_row_that_only_the_end_of_the_file_ends_is_named(tmp_path: Path, title: str) -> None:
    path = tmp_path / "meta.csv"
    for after in ("", f"{8:032x},song\n", f'{8:032x},""\n', f"{8:032x},song"):
        path.write_bytes(f"md5,title\n{6:032x},x\n{7:032x},{title}{after}".encode())
        with pytest.raises(DataError, match=r"meta\.csv: a quotation mark in row 2 is never closed.*Correct that row"):
            read_metadata(path, GigamidiOptions(metadata=str(path)))


@pytest.mark.parametrize(
    "title", ["song", "", '""', '"a\nb"', '"a\n"', '"\n"', '"\n\n"', '"\r\n"', '"""\n"', '"\n"""', '"\n""""\n"']
)
def test_titles_of_several_lines_may_end_the_file(tmp_path: Path, title: str) -> None:
    path = tmp_path / "meta.csv"
    for end in ("", "\n", "\r\n", "\n\n"):
        path.write_bytes(f"md5,title\n{6:032x},x\n{7:032x},{title}{end}".encode())
        assert len(read_metadata(path, GigamidiOptions(metadata=str(path))).keys) == 2


def test_what_is_wrong_with_the_metadata_is_said(
    raw: Path, metadata: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    none = write_csv(tmp_path / "none.csv", ("title",), [("x",)])
    for path, said in (
        (tmp_path / "missing.csv", "source.metadata"),
        (none, "no column 'md5' (columns: title)"),
        (raw, "raw layout"),
        (tmp_path, "source.metadata"),
    ):
        code = main(["preprocess", str(raw), "--source", "gigamidi", "--set", f"source.metadata={path}"])
        err = capsys.readouterr().err
        assert code == 2, err
        assert said in err or "is no readable CSV" in err
        assert "Traceback" not in err
    with pytest.raises(DataError, match=r"source\.min_nomml needs a column"):
        only = write_csv(tmp_path / "only.csv", ("md5",), [("x",)])
        build(component(only, min_nomml=3), [str(raw)], cache=tmp_path / "cache")
    assert main(["preprocess", str(raw), "--source", "gigamidi", "--set", f"source.metadata={metadata}"]) == 0
    capsys.readouterr()
    shown = ["corpus", "info", str(raw), "--source", "gigamidi", "--set", f"source.metadata={metadata}", "--json"]
    assert main(shown) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["no_notes"] == 1
