"""Columns that a source gives besides the music: kept with the pieces, whatever their type."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pyarrow as pa
import pytest

from midigpt_core.components import ComponentRef
from midigpt_core.contracts import RowBatch, SourceContext
from midigpt_core.corpus import writer
from midigpt_core.corpus.build import build
from midigpt_core.corpus.format import METADATA_NAME, SIDECAR_NAME, read_sidecar
from midigpt_core.corpus.metadata import piece_metadata
from midigpt_core.corpus.metadata.arrow import storable
from midigpt_core.corpus.store import open_corpus
from midigpt_core.errors import ComponentError, ConfigError, CorpusError, DataError
from support.corpus import GIGAMIDI, SMALL, small_rows, write_shard

OLD = Path(__file__).parents[1] / "data" / "corpus" / "pieces.arrow"
ROWS = 300

COLUMNS: dict[str, Any] = {
    "year": pa.array([None if n % 7 == 0 else 1700 + n for n in range(ROWS)], pa.int16()),
    "title": pa.array([f"piece {n}" for n in range(ROWS)], pa.string()).dictionary_encode(),
    "tags": pa.array([["a"] * (n % 3) for n in range(ROWS)], pa.list_(pa.string())),
    "by": pa.array([{"name": f"c{n % 2}", "born": date(1900, 1, 1)} for n in range(ROWS)]),
    "share": pa.array(np.linspace(0, 1, ROWS)),
    "written": pa.array([date(1900, 1, 1) + timedelta(n) for n in range(ROWS)], pa.date32()),
    "heard": pa.array([946_684_800 + 43_200 - 299 + n for n in range(ROWS)], pa.timestamp("s", tz="UTC")),
    "note": pa.array(["" if n % 100 == 0 else "x" for n in range(ROWS)]),
}


def component(**options: Any) -> ComponentRef:
    return attrs.evolve(GIGAMIDI, options_class="midigpt_gigamidi.options:GigamidiOptions", options=options)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    music = [*small_rows(ROWS - 2), b"not MIDI", SMALL[0]]
    return write_shard(tmp_path_factory.mktemp("metadata") / "a.parquet", music, **COLUMNS)


@pytest.mark.parametrize("small", [True, False], ids=["small", "with files of columns"])
def test_every_type_is_kept_by_piece(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bool) -> None:
    if not small:
        monkeypatch.setattr(writer, "SMALL_BYTES", -1)
    report = build(component(columns=[*COLUMNS]), [str(path)], cache=tmp_path)
    opened = open_corpus(report.shards)
    kept = opened.corpus.shards[0].metadata
    assert [*kept] == [*COLUMNS]
    rows = opened.corpus.shards[0].pieces.row.tolist()
    for name, values in COLUMNS.items():
        assert kept[name].to_pylist() == [values.to_pylist()[row] for row in rows], name
    for file in opened.files:
        file.verify_all()


def test_values_of_pieces_come_from_their_shards(path: Path, tmp_path: Path) -> None:
    """Pieces of a shard without the column have none."""
    other = write_shard(tmp_path / "b.parquet", small_rows(4, 1), year=pa.array([1, 2, 3, 4], pa.int16()))
    plain = build(GIGAMIDI, [str(path)], cache=tmp_path).shards
    kept = build(component(columns=["year"]), [str(path), str(other)], cache=tmp_path).shards
    corpus = open_corpus([plain[0], *kept]).corpus
    pieces = np.array([2 * ROWS + 3, 0, ROWS + 1, 2 * ROWS])
    found = piece_metadata(corpus, "year", pieces)
    assert found is not None
    assert found.to_pylist() == [4, None, 1701, 1]
    assert piece_metadata(corpus, "title", pieces) is None


def test_two_types_of_one_column_are_refused_by_name(path: Path, tmp_path: Path) -> None:
    other = write_shard(tmp_path / "b.parquet", small_rows(1, 1), year=["1900"])
    corpus = open_corpus(build(component(columns=["year"]), [str(path), str(other)], cache=tmp_path).shards).corpus
    with pytest.raises(DataError, match=r"'year' has several types: int16, string\. Write it"):
        piece_metadata(corpus, "year", np.array([0, ROWS]))


def test_metadata_belongs_to_the_key_and_to_the_identity(path: Path, tmp_path: Path) -> None:
    plain = build(GIGAMIDI, [str(path)], cache=tmp_path).shards[0]
    kept = build(component(columns=["year"]), [str(path)], cache=tmp_path).shards[0]
    assert plain != kept
    assert not plain.with_name(METADATA_NAME).exists()
    assert open_corpus([plain]).fingerprint != open_corpus([kept]).fingerprint
    assert open_corpus([plain]).corpus.shards[0].metadata == {}


def test_damage_is_found_before_a_value_is_read(path: Path, tmp_path: Path) -> None:
    shard = build(component(columns=["share"]), [str(path)], cache=tmp_path).shards[0]
    file = shard.with_name(METADATA_NAME)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    metadata = open_corpus([shard]).corpus.shards[0].metadata
    with pytest.raises(CorpusError, match=rf"{METADATA_NAME}: damaged between bytes"):
        metadata["share"]


def test_a_batch_with_other_columns_is_a_bug_of_the_source() -> None:
    def rows(**metadata: pa.Array) -> RowBatch:
        return RowBatch(row=np.arange(2), ids=pa.nulls(2, pa.string()), midi=pa.nulls(2, pa.large_binary()),
                        metadata=metadata)  # fmt: skip

    known = {"year": pa.int64()}
    assert storable(rows(year=pa.array([1, 2])), known)
    with pytest.raises(ValueError, match=r"is none, and of the batches before year \(int64\)"):
        storable(rows(), known)
    with pytest.raises(ValueError, match=r"is year \(double\)"):
        storable(rows(year=pa.array([1.0, 2.0])), known)
    with pytest.raises(ValueError, match=r"metadata 'year' has 1 values for 2 rows"):
        storable(rows(year=pa.array([1])), None)


class Changing:
    """A shard whose second batch lacks a column."""

    name = "changing"

    def shards(self) -> list[Changing]:
        return [self]

    def num_rows(self) -> None:
        return None

    def fingerprint(self) -> str:
        return "changing"

    def batches(self) -> Any:
        for row, metadata in enumerate(({"year": pa.array([1])}, {})):
            yield RowBatch(
                row=np.array([row]), ids=pa.array(["a"]), midi=pa.array([SMALL[0]], pa.large_binary()),
                metadata=metadata,
            )  # fmt: skip


def build_changing(options: None, context: SourceContext) -> Changing:
    return Changing()


def test_a_build_names_the_source_whose_columns_change(tmp_path: Path) -> None:
    ref = ComponentRef(kind="source", name="changing", target=f"{__name__}:build_changing")
    with pytest.raises(ComponentError, match="changing") as raised:
        build(ref, ["x"], cache=tmp_path)
    assert "the batches before year (int64)" in str(raised.value.__cause__)
    assert not [*tmp_path.rglob(METADATA_NAME)]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (["year >= 1900"], [n for n in range(ROWS) if n % 7 and n >= 200]),
        (["year >= 1900", "year < 1910"], [n for n in range(200, 210) if n % 7]),
        (['title == "piece 7"'], [7]),
        (["title == piece 7"], [7]),
        (["share <= 0.01", "title != piece 1"], [0, 2]),
        (["written > 1900-10-01", 'written <= "1900-10-03"'], [274, 275]),
        (["heard >= 2000-01-01 12:00:00"], [299]),
        (["heard >= 2000-01-01T14:00:00+02:00"], [299]),
        (['note == ""'], [n for n in range(ROWS) if n % 100 == 0]),
    ],
)
def test_filters_see_every_column(path: Path, tmp_path: Path, where: list[str], kept: list[int]) -> None:
    """A row without the value fails; the report counts each dropped row once."""
    report = build(component(where=where, columns=["year"]), [str(path)], cache=tmp_path)
    corpus = open_corpus(report.shards).corpus
    found = sorted(corpus.shards[0].pieces.row.tolist())
    assert found == kept
    assert report.counts["where"] == ROWS - len(kept)
    assert [*corpus.shards[0].metadata] == ["year"]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("yaer > 3", r"no column 'yaer', which source\.columns or source\.where names\. Did you mean 'year'"),
        ("year", r"where: 'year' is no condition\. Write one like 'year >= 1900'"),
        ("year >= [1]", r"is neither a number nor text"),
        ('year >= "a"', r"column 'year' has values of type int16, which cannot be compared with \"a\""),
        ("tags == x", r"column 'tags' has values of type list"),
        ("year === 1900", r"where: 'year === 1900': there is no comparison '==='\. Choose of ==, !=, <"),
        ("year = 1900", r"there is no comparison '='"),
        ("year =! 1900", r"there is no comparison '=!'"),
        ("year <> 1900", r"there is no comparison '<>'"),
        ("year >= NaN", r"where: 'NaN' is not finite"),
        ("year < -Infinity", r"'-Infinity' is not finite"),
        ("share < 1e999", r"'1e999' is not finite"),
        ("title ==", r"where: 'title ==' compares with nothing\. Write \"\" for empty text"),
        ("music != x", r"source\.where compares 'music', which is the music itself"),
        (
            "written > 1900",
            r"type date32\[day\], which cannot be compared with 1900\. Write a date, such as 2020-12-31",
        ),
        ("written > soon", r"cannot be compared with \"soon\"\. Write a date"),
        ("heard > tomorrow", r"cannot be compared with \"tomorrow\"\. Write a date"),
        ("by == x", r"column 'by' has values of type struct"),
    ],
)
def test_wrong_conditions_are_named(path: Path, tmp_path: Path, where: str, message: str) -> None:
    with pytest.raises((DataError, ConfigError), match=message):
        build(component(where=[where]), [str(path)], cache=tmp_path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            ["yaer"],
            r"a\.parquet: no column 'yaer', which source\.columns or source\.where names\. Did you mean 'year'\?",
        ),
        (["music"], r"source\.columns names 'music', which is the music itself"),
        (["year", "year"], r"source\.columns names a column twice"),
    ],
)
def test_wrong_columns_are_named(path: Path, tmp_path: Path, columns: list[str], message: str) -> None:
    with pytest.raises((DataError, ConfigError), match=message):
        build(component(columns=columns), [str(path)], cache=tmp_path)


def test_a_corpus_from_before_metadata_is_read_and_found(tmp_path: Path) -> None:
    """tests/data/corpus was written by version 3 of the layout before it had metadata."""
    folder = tmp_path / "old"
    folder.mkdir()
    for name in (OLD.name, SIDECAR_NAME):
        shutil.copy(OLD.with_name(name), folder / name)
    opened = open_corpus([folder / OLD.name])
    opened.verify(np.arange(3))
    assert opened.corpus.num_pieces == 3
    assert piece_metadata(opened.corpus, "year", np.arange(3)) is None
    # The same rows give the same bytes today: nothing has to be parsed again.
    music = sorted(SMALL, key=len)[:3]
    styles = ["jazz", "folk", "jazz"]
    shard = write_shard(tmp_path / "old.parquet", music, md5=["a", "b", "c"], music_style_scraped=styles)
    new = read_sidecar(build(GIGAMIDI, [str(shard)], cache=tmp_path).shards[0].with_name(SIDECAR_NAME))
    old = read_sidecar(folder / SIDECAR_NAME)
    assert (new.identity, new.checksums, new.buffers) == (old.identity, old.checksums, old.buffers)


def test_reading_the_music_alone_loads_no_arrow(path: Path, tmp_path: Path) -> None:
    shard = build(component(columns=["year"]), [str(path)], cache=tmp_path).shards[0]
    program = (
        "import sys; from pathlib import Path; from midigpt_core.corpus.store import open_corpus\n"
        "found = open_corpus([Path(sys.argv[1])]); found.verify(__import__('numpy').arange(3))\n"
        "assert 'pyarrow' not in sys.modules\n"
        "assert len(found.corpus.shards[0].metadata['year']) == int(sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", program, str(shard), str(ROWS)], check=True)
