"""Every release of GigaMIDI, by the names and kinds of its columns, and columns of kinds that no release has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from midigpt_gigamidi.columns import INSTRUMENTS_V2
from midigpt_gigamidi.options import GigamidiOptions
from midigpt_gigamidi.source import build

from midigpt_core.contracts import RowBatch, SourceContext
from midigpt_core.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

MUSIC = [b"one", b"two", b"three"]
IDS = ["0a", "0b", "0c"]
NOMML = [[12, -1], [0], None]

_DISCOGS = [{"genre": "Electronic", "count": 3}, {"genre": "House", "count": 1}]
_HUB_MUSIC = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_INT64 = pa.int64()
_COUNTED = pa.list_(pa.struct([("genre", pa.string()), ("count", pa.int64())]))


def v1() -> dict[str, pa.Array]:
    """The columns of ``v1.0.0/train.parquet``."""
    return {
        "md5": pa.array(IDS),
        "music": pa.array(MUSIC, pa.binary()),
        "instrument_category": pa.array(["drums-only", "no-drums", "all-instruments-with-drums"]),
        "genres_curated": pa.array(["folk", None, None]),
        "genres_scraped": pa.array([["rock"], ["pop", "pop rock"], None]),
        "genres_discogs": pa.array([None, None, _DISCOGS], _COUNTED),
        "genres_tagtraum": pa.array([None, None, None], _COUNTED),
        "genres_lastfm": pa.array([None, [{"genre": "indie", "count": 1}], None], _COUNTED),
        "median_metric_depth": pa.array(NOMML, pa.list_(pa.int16())),
        "artist_scraped": pa.array(["Ann", None, "Bob"]),
        "title_scraped": pa.array(["A", None, "B"]),
        "sid_matches": pa.array([[{"sid": "x", "score": 0.5}], None, None]),
        "mbid_matches": pa.array([[{"sid": "x", "mbids": ["y"]}], None, None]),
        "loops": pa.array([None, None, None], pa.list_(pa.struct([("start_tick", pa.int32())]))),
    }  # fmt: skip


def v2(width: pa.DataType = _INT64) -> dict[str, pa.Array]:
    """The columns of ``v2.0.0/train/00000.parquet``, and of v1.1.0."""
    return {
        "md5": pa.array(IDS),
        "music": pa.array([{"bytes": data, "path": None} for data in MUSIC], _HUB_MUSIC),
        "split": pa.array(["train"] * 3),
        "NOMML": pa.array(NOMML, pa.list_(width)),
        "num_tracks": pa.array([2, 1, 1], width),
        "TPQN": pa.array([96, 96, 120], width),
        "total_notes": pa.array([100, 50, 20], width),
        "avg_note_duration": pa.array([1.5, 2.5, None]),
        "avg_velocity": pa.array([64.5, 100.0, None]),
        "min_velocity": pa.array([1, 100, None], width),
        "max_velocity": pa.array([127, 100, None], width),
        "tempo": pa.array(["[Tempo(time=0, qpm=120.5, mspq=497925)]", "90.0", None]),
        "loop_track_idx": pa.array([[0], None, None], pa.list_(width)),
        "Type": pa.array([1, 0, 1], width),
        INSTRUMENTS_V2: pa.array([0, 2, 1], width),
        "music_styles_curated": pa.array([["folk"], None, []], pa.list_(pa.string())),
        "music_style_scraped": pa.array(["rock%2C", "pop%2Cpop%20rock", None]),
        "music_style_audio_text_Discogs": pa.array([None, None, ["Electronic", "House"]], pa.list_(pa.string())),
        "music_style_audio_text_Lastfm": pa.array([None, ["indie"], None], pa.list_(pa.string())),
        "music_style_audio_text_Tagtraum": pa.array([None, None, None], pa.list_(pa.string())),
        "title": pa.array(["A", None, "B"]),
        "artist": pa.array(["Ann", None, "Bob"]),
        "audio_text_matches_score": pa.array([0.5, None, None]),
        "NOMML__expressive_": pa.array([True, False, None]),
    }  # fmt: skip


STYLES = ["folk", "pop,pop rock", "Electronic,House"]


def read(tmp_path: Path, columns: dict[str, Any], **options: Any) -> RowBatch:
    path = tmp_path / "00000.parquet"
    pq.write_table(pa.table(columns), path)
    source = build(GigamidiOptions(**options), SourceContext(paths=(str(path),)))
    (shard,) = source.shards()
    (batch,) = shard.batches()
    assert shard.num_rows() == len(batch.row) + sum(batch.dropped.values())
    return batch


def assert_whole(batch: RowBatch) -> None:
    assert batch.ids.to_pylist() == IDS
    assert batch.midi.to_pylist() == MUSIC
    assert batch.genre is not None
    assert batch.genre.to_pylist() == STYLES
    assert batch.nomml is not None
    assert batch.nomml.type == pa.list_(pa.int64())
    assert batch.nomml.to_pylist() == NOMML
    assert batch.dropped == {}


def recast(columns: dict[str, pa.Array], to: dict[pa.DataType, pa.DataType]) -> dict[str, pa.Array]:
    """The columns, also in lists, with types replaced."""

    def replaced(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_list(kind) and not pa.types.is_struct(kind.value_type):
            return pa.list_(to.get(kind.value_type, kind.value_type))
        return to.get(kind, kind)

    return {name: column.cast(replaced(column.type)) for name, column in columns.items()}


class TestReleases:
    def test_v1(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        assert_whole(read(tmp_path, v1()))
        assert caplog.text == ""

    @pytest.mark.parametrize(
        "width", [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float64(), pa.float32()], ids=str
    )
    def test_v2(self, tmp_path: Path, width: pa.DataType, caplog: pytest.LogCaptureFixture) -> None:
        assert_whole(read(tmp_path, v2(width)))
        assert caplog.text == ""

    @pytest.mark.parametrize("release", [v1, v2])
    @pytest.mark.parametrize(
        "text", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
    )
    def test_strings_of_every_kind(self, tmp_path: Path, release: Any, text: pa.DataType) -> None:
        columns = release()
        if pa.types.is_dictionary(text):
            columns = {
                name: column.dictionary_encode() if pa.types.is_string(column.type) else column
                for name, column in columns.items()
            }
        else:
            columns = recast(columns, {pa.string(): text})
        assert_whole(read(tmp_path, columns))

    @pytest.mark.parametrize(
        "kind",
        [
            pa.large_binary(),
            pa.binary_view(),
            pa.struct([("bytes", pa.large_binary())]),
            pa.struct([("path", pa.string()), ("bytes", pa.binary_view())]),
        ],
        ids=str,
    )
    def test_music_of_every_kind(self, tmp_path: Path, kind: pa.DataType) -> None:
        music = [{"bytes": data} for data in MUSIC] if pa.types.is_struct(kind) else MUSIC
        assert_whole(read(tmp_path, {**v2(), "music": pa.array(music, kind)}))

    @pytest.mark.parametrize("shape", [pa.large_list, pa.list_view, pa.large_list_view])
    def test_lists_of_every_kind(self, tmp_path: Path, shape: Any) -> None:
        columns = v2()
        columns["NOMML"] = pa.array(NOMML, shape(pa.int32()))
        columns["music_styles_curated"] = pa.array([["folk"], None, []], shape(pa.string()))
        assert_whole(read(tmp_path, columns))

    def test_music_alone(self, tmp_path: Path) -> None:
        batch = read(tmp_path, {"music": MUSIC})
        assert batch.midi.to_pylist() == MUSIC
        assert (batch.genre, batch.nomml) == (None, None)


class TestStyles:
    def test_the_named_columns_in_their_order(self, tmp_path: Path) -> None:
        for release in (v1, v2):
            genre = read(tmp_path, release(), styles=("lastfm", "scraped")).genre
            assert genre is not None
            assert genre.to_pylist()[:2] == ["rock", "indie"]

    def test_no_columns(self, tmp_path: Path) -> None:
        assert read(tmp_path, v2(), styles=()).genre is None

    def test_names_with_commas_and_long_lists_are_bounded(self, tmp_path: Path) -> None:
        names = pa.array([["Folk, World, & Country"], [f"style {n}" for n in range(9000)], ["x" * 9000]])
        genre = read(tmp_path, {"music": MUSIC, "music_styles_curated": names}).genre
        assert genre is not None
        first, second, third = genre.to_pylist()
        assert first == "Folk,World,& Country"
        assert max(len(second), len(third)) <= 4096
        assert second.startswith("style 0,style 1,")


class TestOddKinds:
    @pytest.mark.parametrize(
        ("column", "values", "role"),
        [
            ("md5", pa.array([1, 2, 3]), ["1", "2", "3"]),
            ("md5", pa.array([b"0a", b"0b", b"0c"], pa.binary(2)), IDS),
            ("num_tracks", pa.array(["1", "2.0", " 3 "]), None),
            ("num_tracks", pa.array([1, 2, 3], pa.decimal128(9, 2)), None),
            ("total_notes", pa.array([1, 2, 2**64 - 1], pa.uint64()), None),
        ],
    )  # fmt: skip
    def test_what_loses_nothing_is_cast(
        self, tmp_path: Path, column: str, values: pa.Array, role: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        batch = read(tmp_path, {"music": MUSIC, column: values})
        assert len(batch.row) == 3
        if role:
            assert batch.ids.to_pylist() == role
            assert caplog.text == ""

    @pytest.mark.parametrize(
        "values", [["[12, -1]", "[0]", None], ["[12 -1]", "[0.]", ""], ["12,-1", "(0,)", None]], ids=str
    )
    def test_lists_in_text(self, tmp_path: Path, values: list[str | None]) -> None:
        nomml = read(tmp_path, {"music": MUSIC, "NOMML": values}).nomml
        assert nomml is not None
        assert [levels or None for levels in nomml.to_pylist()] == NOMML

    def test_what_cannot_be_cast_is_named_once_and_left_out(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        odd = {
            "md5": [1.5, 2.5, 3.5],
            "num_tracks": [True, False, True],
            "total_notes": [[1], [2], [3]],
            "NOMML": [[["x"]]] * 3,
            "music_style_scraped": pa.array([{"x": 1}] * 3),
        }
        pq.write_table(pa.table({"music": MUSIC, **odd}), tmp_path / "b.parquet")
        pq.write_table(pa.table({"music": MUSIC, **odd}), tmp_path / "c.parquet")
        source = build(GigamidiOptions(), SourceContext(paths=(str(tmp_path),)))
        for shard in source.shards():
            (batch,) = shard.batches()
            assert batch.midi.to_pylist() == MUSIC
            assert (batch.genre, batch.nomml) == (None, None)
        (record,) = caplog.records
        for name in odd:
            assert repr(name) in record.getMessage()

    def test_values_that_would_change_are_missing_and_their_column_is_named_once(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        columns = {"NOMML": [[12.0, 0.5], [float("nan"), 3.0], None], "total_notes": [1.0, 0.5, 1e300]}
        batch = read(tmp_path, {"music": MUSIC, **columns})
        assert batch.nomml is not None
        assert batch.nomml.to_pylist() == [[12, None], [None, 3], None]
        assert len(batch.row) == 3
        assert len(caplog.records) == 2
        assert "'NOMML'" in caplog.text
        assert "'total_notes'" in caplog.text

    def test_an_unusable_column_of_the_new_name_gives_way_to_one_of_the_old(self, tmp_path: Path) -> None:
        columns = {"NOMML": [True] * 3, "median_metric_depth": pa.array(NOMML, pa.list_(pa.int16()))}
        nomml = read(tmp_path, {"music": MUSIC, **columns}).nomml
        assert nomml is not None
        assert nomml.to_pylist() == NOMML


FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({"min_nomml": 12}, [0]),
    ({"min_nomml": 0}, [0, 1]),
    ({"instruments": ("drums-only", "all-instruments-with-drums")}, [0, 2]),
    ({"styles_in": ("FOLK", "house")}, [0, 2]),
    ({"styles_out": ("pop  rock",)}, [0, 2]),
    ({"styles_in": ("indie",), "styles": ("lastfm",)}, [1]),
    ({"artists_in": ("ann",)}, [0]),
    ({"artists_out": ("ann",)}, [1, 2]),
]
COUNT_FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({"min_notes": 50}, [0, 1]),
    ({"max_notes": 50}, [1, 2]),
    ({"min_tracks": 2}, [0]),
    ({"max_tracks": 1}, [1, 2]),
    ({"min_tempo": 100}, [0]),
    ({"max_tempo": 100.0}, [1]),
    ({"min_notes": 1000}, []),
]


class TestFilters:
    @pytest.mark.parametrize(("options", "kept"), FILTERS)
    @pytest.mark.parametrize("release", [v1, v2])
    def test_rows_that_pass(self, tmp_path: Path, release: Any, options: dict[str, Any], kept: list[int]) -> None:
        batch = read(tmp_path, release(), **options)
        assert batch.row.tolist() == kept
        assert batch.midi.to_pylist() == [MUSIC[row] for row in kept]
        (reason,) = batch.dropped
        assert reason == next(iter(options))

    @pytest.mark.parametrize(("options", "kept"), COUNT_FILTERS)
    @pytest.mark.parametrize("width", [pa.int16(), pa.float64()], ids=str)
    def test_counts_and_tempo(
        self, tmp_path: Path, width: pa.DataType, options: dict[str, Any], kept: list[int]
    ) -> None:
        batch = read(tmp_path, v2(width), **options)
        assert batch.row.tolist() == kept
        assert batch.dropped == {next(iter(options)): 3 - len(kept)}

    @pytest.mark.parametrize("in_lists", [False, True])
    def test_tempos_that_cannot_be_read_are_named_once(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, in_lists: bool
    ) -> None:
        texts = ["Tempo(qpm=100.0)", "presto", "[]", "None", None, "mspq=0"]
        tempo = [[text] for text in texts] if in_lists else texts
        batch = read(tmp_path, {"music": [MUSIC[0]] * 6, "tempo": tempo}, min_tempo=60, max_tempo=200)
        assert batch.row.tolist() == [0]
        assert batch.dropped == {"min_tempo": 5}
        (record,) = caplog.records
        said = "column 'tempo' has values that are not a number, at first 2; they are left out."
        assert record.getMessage().endswith(said)

    def test_categories_stored_as_doubles(self, tmp_path: Path) -> None:
        """As a table becomes in which a category is missing."""
        columns = {**v2(), INSTRUMENTS_V2: pa.array([0.0, None, 1.0], pa.float64())}
        batch = read(tmp_path, columns, instruments=("all-instruments-with-drums",))
        assert batch.row.tolist() == [2]
        assert batch.dropped == {"instruments": 2}

    def test_each_row_is_counted_once_under_the_first_filter_that_it_fails(self, tmp_path: Path) -> None:
        columns = {**v2(), "total_notes": [0, 50, 20]}
        batch = read(tmp_path, columns, min_notes=30, min_nomml=12)
        assert batch.dropped == {"no_notes": 1, "min_nomml": 1, "min_notes": 1}

    @pytest.mark.parametrize("name", ["min_nomml", "instruments", "artists_in", "min_notes", "min_tempo", "styles_out"])
    def test_a_filter_without_its_column_is_named(self, tmp_path: Path, name: str) -> None:
        value: Any = {"instruments": ("no-drums",)}.get(name, ("x",) if name[0] in "as" else 1)
        with pytest.raises(DataError, match=rf"00000\.parquet: source\.{name} needs a column '"):
            read(tmp_path, {"music": MUSIC}, **{name: value})

    def test_music_of_a_row_group_without_a_passing_row_is_not_read(self, tmp_path: Path) -> None:
        notes = [1, 1, 9, 9]
        music = [bytes([row]) * 3000 for row in range(4)]
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"music": music, "total_notes": notes}), path, row_group_size=2)
        column = pq.ParquetFile(path).metadata.row_group(0).column(0)
        content = bytearray(path.read_bytes())
        start = column.dictionary_page_offset or column.data_page_offset
        content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
        path.write_bytes(content)
        source = build(GigamidiOptions(min_notes=5), SourceContext(paths=(str(path),)))
        (batch,) = source.shards()[0].batches()
        assert batch.row.tolist() == [2, 3]
        assert batch.midi.to_pylist() == music[2:]
        assert batch.dropped == {"min_notes": 2}

    def test_filters_over_many_batches(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        generator = np.random.default_rng(0)
        notes = generator.integers(0, 10, 3000)
        music = [generator.bytes(20) for _ in range(3000)]
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"music": music, "total_notes": notes}), path, row_group_size=700)
        monkeypatch.setattr("midigpt_gigamidi.source._FILTERED_ROWS", 100)
        source = build(GigamidiOptions(min_notes=3, max_notes=7), SourceContext(paths=(str(path),)))
        batches = list(source.shards()[0].batches())
        wanted = np.flatnonzero((notes >= 3) & (notes <= 7)).tolist()
        assert [row for batch in batches for row in batch.row.tolist()] == wanted
        assert [data for batch in batches for data in batch.midi.to_pylist()] == [music[row] for row in wanted]
        assert sum(sum(batch.dropped.values()) for batch in batches) == 3000 - len(wanted)
        assert sum(batch.dropped.get("no_notes", 0) for batch in batches) == int((notes == 0).sum())
