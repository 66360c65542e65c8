"""From the columns of a parquet file to token ids: style names and NOMML levels arrive, and no row goes missing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from midigpt_core.components import ComponentRef
from midigpt_core.contracts import EncoderContext
from midigpt_core.corpus.build import build as build_corpus
from midigpt_core.corpus.select import SelectionLimits, select
from midigpt_core.corpus.store import open_corpus
from midigpt_core.data.settings import StreamSettings
from midigpt_core.data.stream import StreamSpec
from midigpt_core.plugins import build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midigpt_core.data.stream import TokenStream

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
FILES = sorted(path for path in MIDI.glob("*.mid") if path.stat().st_size > 10_000)
#: URL-encoded, as GigaMIDI has them; the encoder knows none, one or two of a row's names.
STYLES = ["Jazz%2C%20polka", "rock%2CMETAL", None, "film/tv", "klezmer"]
LEVELS = 13
BLOCKS = 2
BROKEN = b"not a MIDI file"
SETTINGS = StreamSettings(
    max_seq_len=1024,
    num_bars_choices=(4, 8),
    mask_apply_probability=0.0,
    genre_probability=0.75,
    velocity_off_probability=0.5,
    microtiming_off_probability=0.25,
)


class Document(NamedTuple):
    row: int
    #: (type, value) of every token.
    tokens: list[tuple[str, int]]

    def values(self, kind: str) -> list[int]:
        return [value for name, value in self.tokens if name == kind]

    def track_headers(self) -> set[tuple[int, int]]:
        """(instrument, NOMML level) of every track."""
        return set(zip(self.values("Instrument"), self.values("TrackLevelNomml"), strict=True))


class Outcome(NamedTuple):
    documents: list[Document]
    stream: TokenStream
    counts: dict[str, int]
    selection: dict[str, int]


def level(row: int, track: int) -> int:
    return (5 * row + track) % LEVELS


def style(row: int) -> str | None:
    return STYLES[row % len(STYLES)]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("run")
    levels = [[level(row, track) for track in range(12)] for row in range(len(FILES))]
    levels[-1] = None
    pq.write_table(
        pa.table(
            {
                "md5": [*(path.stem for path in FILES), "broken"],
                "music": [*(path.read_bytes() for path in FILES), BROKEN],
                "music_style_scraped": [*(style(row) for row in range(len(FILES))), "rock"],
                "NOMML": pa.array([*levels, [1]], pa.list_(pa.int64())),
            }
        ),
        folder / "shard.parquet",
    )
    source = ComponentRef(kind="source", name="gigamidi", target="midigpt_gigamidi.source:build")
    encoder = ComponentRef(
        kind="encoder",
        name="midigpt",
        target="midigpt_encoder.factory:build",
        options_class="midigpt_encoder.factory:EncoderOptions",
        options={"config": "expressive"},
    )
    report = build_corpus(source, [str(folder / "shard.parquet")], cache=folder / "cache")
    opened = open_corpus(report.shards)
    limits = SelectionLimits(min_bars=4, min_tracks=1, window_sizes=(4, 8), min_fill_ratio=SETTINGS.min_fill_ratio)
    chosen = select(opened, build(encoder, EncoderContext()), limits)
    spec = StreamSpec(
        shards=tuple(opened.shard_paths), pieces=chosen.pieces, encoder=encoder, mask=None, settings=SETTINGS
    )
    stream = spec.open()
    found = [document for index in range(BLOCKS) for document in documents(stream, index)]
    return Outcome(found, stream, dict(report.counts), dict(chosen.counts))


def documents(stream: TokenStream, index: int) -> Iterator[Document]:
    block, vocabulary = stream.block(index), stream.encoder.vocabulary
    batch = block.batch
    pieces = stream.corpus.shards[0].pieces
    for row in range(len(batch.row)):
        # Within a row documents keep the order in which they were drawn.
        drawn = np.flatnonzero(block.documents.row == row)
        for number, document in enumerate(drawn.tolist()):
            ids = batch.input_ids[row][batch.document_ids[row] == number].tolist()
            names = [(vocabulary.type_names[vocabulary.type_of[i]], int(vocabulary.value_of[i])) for i in ids]
            yield Document(int(pieces.row[block.documents.piece[document]]), names)


def test_every_row_is_counted_under_one_name(outcome: Outcome) -> None:
    assert outcome.counts == {"kept": len(FILES), "no_header": 1}
    assert outcome.selection == {"valid": len(FILES), "not_parsed": 1}
    assert {document.row for document in outcome.documents} == set(range(len(FILES)))
    for index in range(BLOCKS):
        report = outcome.stream.block(index).report
        assert sum(report.statuses.values()) == report.draws >= report.documents > 150


def test_genres_are_those_of_the_row(outcome: Outcome) -> None:
    names = {"Jazz%2C%20polka": ["jazz"], "rock%2CMETAL": ["rock", "metal"], "film/tv": ["film/tv"]}
    seen: dict[str | None, Counter[int]] = {text: Counter() for text in STYLES}
    for document in outcome.documents:
        written = document.values("Genre") or [-1]
        assert len(written) == 1
        seen[style(document.row)][written[0]] += 1
    told = untold = 0
    for text, counts in seen.items():
        known = {outcome.stream.encoder.genre_id(name) for name in names.get(text or "", [])}
        assert -1 not in known
        assert set(counts) == known | {-1}
        if known:
            told, untold = told + counts.total() - counts[-1], untold + counts[-1]
    # genre_probability is 0.75.
    assert 0.65 < told / (told + untold) < 0.85


def instruments(groups: tuple[tuple[int, ...], ...]) -> list[int]:
    """The instrument id of each program."""
    first = list(range(128))
    for group in groups:
        for program in group:
            first[program] = group[0]
    ids = sorted(set(first))
    return [ids.index(program) for program in first]


def test_levels_are_those_of_the_row_and_track(outcome: Outcome) -> None:
    shard = outcome.stream.corpus.shards[0]
    instrument = instruments(outcome.stream.encoder.config.instrument_merge_groups)
    seen = set()
    for document in outcome.documents:
        piece = int(np.flatnonzero(shard.pieces.row == document.row)[0])
        begin, end = shard.columns.track_offsets[piece : piece + 2].tolist()
        headers = document.track_headers()
        if document.row == len(FILES) - 1:
            # A level that the row does not have is measured, on the grid of 12, where none is above 7.
            assert max(value for _, value in headers) <= 7
            continue
        programs = shard.columns.track_program[begin:end].tolist()
        assert headers <= {(instrument[program], level(document.row, t)) for t, program in enumerate(programs)}
        seen |= {value for _, value in headers}
    assert seen == set(range(LEVELS))


def test_switches_open_as_often_as_asked(outcome: Outcome) -> None:
    for kind, tokens, off in (("UseVelocity", "VelocityLevel", 0.5), ("UseMicrotiming", "Delta", 0.25)):
        without = [document for document in outcome.documents if document.values(kind) == [0]]
        assert abs(len(without) / len(outcome.documents) - off) < 0.1
        assert not any(document.values(tokens) for document in without)
        assert any(document.values(tokens) for document in outcome.documents)
