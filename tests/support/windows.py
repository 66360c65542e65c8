"""Parts for the tests of the data stage: synthetic corpora, and an encoder whose tokens say what they came from."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import field, frozen

from midigpt_core.components import ComponentRef
from midigpt_core.contracts import Encoder, EncoderContext, MaskContext
from midigpt_core.corpus.format import DATA_NAME
from midigpt_core.corpus.tally import Tally
from midigpt_core.corpus.writer import ShardWriter
from midigpt_core.data.stream import StreamSpec, TokenStream
from midigpt_core.plugins import build
from midigpt_core.records import (
    Corpus,
    CorpusShard,
    PieceTable,
    ScoreColumns,
    TokenBatch,
    TokenStatus,
    Vocabulary,
    WindowBatch,
)

if TYPE_CHECKING:
    from midigpt_core.data.settings import StreamSettings

#: A piece as the bars that hold notes, per track, and its number of bars.
Piece = tuple[int, Sequence[Sequence[int]]]
VOCABULARY = 5000


def offsets_of(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))]).astype(np.int64)


def columns_of(pieces: Sequence[Piece], notes_per_cell: int = 1) -> ScoreColumns:
    """Score columns with ``notes_per_cell`` equal notes in every cell."""
    cells = [sum(len(track) for track in tracks) for _, tracks in pieces]
    total_bars, total_cells = sum(bars for bars, _ in pieces), sum(cells)
    total_tracks = sum(len(tracks) for _, tracks in pieces)
    notes = total_cells * notes_per_cell
    return ScoreColumns(
        resolution=480,
        tempo=np.full(len(pieces), 500_000, dtype=np.int32),
        track_offsets=offsets_of([len(tracks) for _, tracks in pieces]),
        bar_offsets=offsets_of([bars for bars, _ in pieces]),
        cell_offsets=offsets_of(cells),
        note_offsets=offsets_of([count * notes_per_cell for count in cells]),
        track_program=np.zeros(total_tracks, dtype=np.uint8),
        track_drum=np.zeros(total_tracks, dtype=np.uint8),
        track_nomml=np.full(total_tracks, -1, dtype=np.int8),
        track_cell_end=np.concatenate(
            [np.zeros(0), *[np.cumsum([len(track) for track in tracks]) for _, tracks in pieces]]
        ).astype(np.int32),
        bar_numerator=np.full(total_bars, 4, dtype=np.int32),
        bar_denominator=np.full(total_bars, 4, dtype=np.int32),
        bar_length=np.full(total_bars, 4.0),
        cell_bar=np.array([bar for _, tracks in pieces for track in tracks for bar in track], dtype=np.int32),
        cell_note_end=np.concatenate(
            [np.zeros(0), *[np.arange(1, count + 1) * notes_per_cell for count in cells]]
        ).astype(np.int32),
        note_onset=np.zeros(notes, dtype=np.int32),
        note_duration=np.ones(notes, dtype=np.int32),
        note_pitch=np.full(notes, 60, dtype=np.uint8),
        note_velocity=np.full(notes, 64, dtype=np.uint8),
        note_microtiming=np.zeros(notes, dtype=np.int32),
    )


def corpus_of(*shards: Sequence[Piece], genres: Sequence[str] | None = None) -> Corpus:
    """A corpus in memory; ``genres`` go to the pieces of the first shard, rows count in tens."""
    parts = []
    for number, pieces in enumerate(shards):
        styles = [style.encode() for style in genres or ()] if number == 0 else []
        styles += [b""] * (len(pieces) - len(styles))
        table = PieceTable(
            id_offsets=np.zeros(len(pieces) + 1, dtype=np.int64),
            id_bytes=np.zeros(0, dtype=np.uint8),
            row=np.arange(len(pieces)) * 10,
            status=np.zeros(len(pieces), dtype=np.uint8),
            content_hash=np.zeros((len(pieces), 16), dtype=np.uint8),
            genre_offsets=offsets_of([len(style) for style in styles]),
            genre_bytes=np.frombuffer(b"".join(styles), dtype=np.uint8),
        )
        parts.append(CorpusShard(source=f"shard{number}.parquet", columns=columns_of(pieces), pieces=table))
    return Corpus(parts, offsets_of([len(pieces) for pieces in shards]))


def random_pieces(seed: int, count: int, most_tracks: int = 6, most_bars: int = 60) -> list[Piece]:
    generator = np.random.Generator(np.random.Philox(seed))
    pieces: list[Piece] = []
    for _ in range(count):
        bars = int(generator.integers(4, most_bars + 1))
        share = generator.uniform(0.5, 1.0, size=int(generator.integers(1, most_tracks + 1)))
        pieces.append((bars, [np.flatnonzero(generator.random(bars) < density).tolist() for density in share]))
    return pieces


@frozen(kw_only=True)
class EchoOptions:
    """Options of :class:`EchoEncoder`."""

    mean_length: float = 300.0
    spread: float = 0.75
    #: Raise for this piece.
    raise_on: int = -1
    #: Give a token outside the vocabulary for this piece.
    foreign_on: int = -1
    #: Kill the process at this piece.
    die_on: int = -1
    #: Raise if one of these modules is imported in this process.
    forbidden_modules: list[str] = field(factory=list)


class EchoEncoder(Encoder):
    """Documents of log-normal lengths that depend on the window alone; tokens count up from a number of the window."""

    def __init__(self, options: EchoOptions) -> None:
        self.options = options

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(
            size=VOCABULARY,
            type_names=("Echo",),
            type_of=np.zeros(VOCABULARY, dtype=np.uint8),
            value_of=np.arange(VOCABULARY, dtype=np.int32),
            attributes=("first", "second"),
        )

    @property
    def provides(self) -> frozenset[str]:
        return frozenset({"infill", "mask_bar", "genre", "use_velocity", "use_microtiming"})

    def to_config(self) -> dict[str, Any]:
        return {}

    def genre_id(self, name: str) -> int:
        return {"jazz": 0, "rock": 1, "folk": 2}.get(name.lower(), -1)

    def encode_batch(self, corpus: Corpus, windows: WindowBatch, max_tokens: np.ndarray) -> TokenBatch:
        options = self.options
        if (windows.piece == options.raise_on).any():
            raise ArithmeticError("this piece is too difficult")
        if (windows.piece == options.die_on).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if imported := sorted(set(options.forbidden_modules) & set(sys.modules)):
            raise RuntimeError(f"imported here: {imported}")
        tracks = (windows.tracks >= 0).sum(axis=1)
        mixed = fingerprint(windows)
        normal = np.sin(mixed * 12.9898) + np.sin(mixed * 78.233) + np.sin(mixed * 37.719)
        length = (options.mean_length * np.exp(options.spread * normal / 1.22)).astype(np.int64) + 5 + tracks
        status = np.where(length > max_tokens, TokenStatus.TOO_LONG, TokenStatus.OK).astype(np.uint8)
        length[status == TokenStatus.TOO_LONG] = 0
        offsets = offsets_of(length)
        start = np.repeat(mixed - offsets[:-1], length)
        tokens = ((start + np.arange(offsets[-1])) % VOCABULARY).astype(np.int32)
        if (windows.piece == options.foreign_on).any():
            tokens[offsets[:-1][(windows.piece == options.foreign_on) & (length > 0)]] = VOCABULARY
        return TokenBatch(
            tokens=tokens,
            offsets=offsets,
            role=(tokens % 2).astype(np.uint8),
            status=status,
            masked_spans=np.zeros((0, 3), dtype=np.int64),
        )

    def decode(self, tokens: np.ndarray) -> Any:
        raise NotImplementedError


def fingerprint(windows: WindowBatch) -> np.ndarray:
    """A number of each window's content: everything but the padding of the batch counts."""
    places = np.arange(1, windows.tracks.shape[1] + 1)
    bars = np.arange(1, windows.infill.shape[2] + 1)
    weight = places[:, None] * 31 + bars * 7
    parts = (
        windows.piece * 1009
        + windows.start_bar.astype(np.int64) * 917
        + windows.num_bars.astype(np.int64) * 53
        + ((windows.tracks + 1) * places * 13).sum(axis=1)
        + (windows.infill * weight).sum(axis=(1, 2)) * 3
        + (windows.masked * weight).sum(axis=(1, 2)) * 5
        + windows.transpose.astype(np.int64) * 211
        + np.nan_to_num(windows.velocity_scale * 10_007).astype(np.int64)
        + windows.genre.astype(np.int64) * 1301
        + windows.use_velocity.astype(np.int64) * 1511
        + windows.use_microtiming.astype(np.int64) * 1777
    )
    return np.asarray(parts, dtype=np.int64) % 1_000_003


def build_encoder(options: EchoOptions, _context: EncoderContext) -> EchoEncoder:
    return EchoEncoder(options)


def encoder_ref(**options: Any) -> ComponentRef:
    """A reference to the echo encoder that a spawned worker can resolve."""
    return ComponentRef(
        kind="encoder",
        name="echo",
        target="support.windows:build_encoder",
        options_class="support.windows:EchoOptions",
        options=options,
        distribution="test-parts",
        version="1.0",
        import_paths=(str(Path(__file__).parents[1]),),
    )


def mask_ref(name: str = "mixed") -> ComponentRef:
    """A reference to a bundled mask strategy."""
    module = {"random": "random_bars", "structured": "structured", "mixed": "mixed"}[name]
    return ComponentRef(
        kind="mask",
        name=name,
        target=f"midigpt_masking.{module}:build",
        options_class=f"midigpt_masking.{module}:{name.capitalize()}Options",
    )


def spec_of(
    num_pieces: int, settings: StreamSettings, shards: Sequence[Path] = (), mask: str | None = "mixed", **options: Any
) -> StreamSpec:
    """A stream over the first ``num_pieces`` pieces with the echo encoder."""
    return StreamSpec(
        shards=tuple(shards),
        pieces=np.arange(num_pieces, dtype=np.int64),
        encoder=encoder_ref(**options),
        mask=None if mask is None else mask_ref(mask),
        settings=settings,
    )


def open_in_memory(corpus: Corpus, spec: StreamSpec, mask: Any = None) -> TokenStream:
    """The stream of ``spec`` over a corpus without files; ``mask`` stands in for the strategy that it names."""
    if mask is None and spec.mask is not None:
        mask = build(spec.mask, MaskContext())
    return TokenStream(spec=spec, corpus=corpus, encoder=build(spec.encoder, EncoderContext()), mask=mask)


def write_corpus(folder: Path, corpus: Corpus) -> list[Path]:
    """The corpus as files; returns the shards' data files."""
    paths = []
    for number, shard in enumerate(corpus.shards):
        with ShardWriter(folder / str(number)) as writer:
            writer.add(shard.columns, shard.pieces)
            writer.commit(source=shard.source, fingerprint=str(number), tally=Tally())
        paths.append(folder / str(number) / DATA_NAME)
    return paths
