"""The records that carry everything between stages: flat arrays with documented shape, dtype and unit.

Legend of the shape letters: N windows or pieces, P pieces, T tracks, B bars, C cells (non-empty (track, bar) pairs),
K attribute controls, R packed rows of a batch, L tokens of a packed row, V vocabulary size.

Variable-length data is stored relative to its piece, so the columns of two batches of pieces are joined by plain
concatenation, and a piece's values do not depend on its position. This module does not import NumPy, so importing the
definitions is cheap; code that builds a record imports it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, overload

from attrs import Factory, field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    BoolArray = NDArray[np.bool_]
    Int8Array = NDArray[np.int8]
    Int16Array = NDArray[np.int16]
    Int32Array = NDArray[np.int32]
    Int64Array = NDArray[np.int64]
    UInt8Array = NDArray[np.uint8]
    UInt64Array = NDArray[np.uint64]
    Float32Array = NDArray[np.float32]
    Float64Array = NDArray[np.float64]

#: Ticks per quarter note of every score read from a file and of every corpus.
CORPUS_RESOLUTION = 480

#: How the tokens of fill blocks are numbered (docs/infilling.md): ``sequence``, by their places in the document, or
#: ``placeholder``, on from the position of the placeholder that the fill block belongs to.
SEQUENCE, PLACEHOLDER = INFILL_POSITIONS = ("sequence", "placeholder")

#: The value of ``labels`` that the loss ignores (PyTorch's own default).
IGNORED_LABEL = -100


@frozen(eq=False, kw_only=True)
class ScoreColumns:
    """The music of P pieces as columns; one piece is a :class:`midigpt_core.score.Score`.

    Offsets (``*_offsets``, int64[P+1]) say which run of a column belongs to a piece. Inside a piece, runs are given by
    their ends, relative to the piece's own run: the cells of track ``t`` are ``track_cell_end[t-1]`` to
    ``track_cell_end[t]`` (from 0 for the piece's first track), and likewise the notes of a cell. Cells ascend by bar
    within a track; a bar without notes has no cell. Notes keep the order of their note-ons in the file.
    """

    #: Ticks per quarter note of onsets and durations, the same for all pieces here.
    resolution: int
    #: int32[P], microseconds per quarter note.
    tempo: Int32Array
    #: int64[P+1], the run of each piece in the ``track_*`` columns.
    track_offsets: Int64Array
    #: int64[P+1], the run of each piece in the ``bar_*`` columns.
    bar_offsets: Int64Array
    #: int64[P+1], the run of each piece in the ``cell_*`` columns.
    cell_offsets: Int64Array
    #: int64[P+1], the run of each piece in the ``note_*`` columns.
    note_offsets: Int64Array
    #: uint8[T], MIDI program 0..127.
    track_program: UInt8Array
    #: uint8[T], 1 for a drum track (MIDI channel 10), else 0.
    track_drum: UInt8Array
    #: int8[T], GigaMIDI's expressiveness level of the track, -1 where the source has none.
    track_nomml: Int8Array
    #: int32[T], end of the track's cells, relative to the piece's first cell.
    track_cell_end: Int32Array
    #: int32[B], numerator of the bar's time signature.
    bar_numerator: Int32Array
    #: int32[B], denominator of the bar's time signature.
    bar_denominator: Int32Array
    #: float64[B], nominal length of the bar in quarter notes.
    bar_length: Float64Array
    #: int32[C], index of the cell's bar within its track.
    cell_bar: Int32Array
    #: int32[C], end of the cell's notes, relative to the piece's first note.
    cell_note_end: Int32Array
    #: int32, ticks from the start of the note's bar.
    note_onset: Int32Array
    #: int32, ticks, at least 1.
    note_duration: Int32Array
    #: uint8, MIDI pitch 0..127.
    note_pitch: UInt8Array
    #: uint8, MIDI velocity 0..127.
    note_velocity: UInt8Array
    #: int32, residual of the onset in 1/resolution of a tick. Within a tick in scores read from files; an encoder that
    #: decodes a note to before its bar keeps the whole distance here.
    note_microtiming: Int32Array
    #: int32[T] or None. None: all tracks of a piece share the piece's bars (every score read from a file). Else each
    #: track has bars of its own, one track after another; this is the end of the track's bars within the piece.
    track_bar_end: Int32Array | None = None

    @property
    def num_pieces(self) -> int:
        """P."""
        return len(self.tempo)


@frozen(eq=False, kw_only=True)
class PieceTable:
    """What a corpus stores about P pieces besides their music."""

    #: int64[P+1], the run of each piece in ``id_bytes``.
    id_offsets: Int64Array
    #: uint8, names that the source gave (GigaMIDI: the md5), as UTF-8.
    id_bytes: UInt8Array
    #: int64[P], row of the source file.
    row: Int64Array
    #: uint8[P], 0 or the reason why there is no music (:mod:`midigpt_core.corpus.status`).
    status: UInt8Array
    #: uint8[P, 16], hash of the music (bars, tracks, notes): equal for equal music whatever the file's name.
    content_hash: UInt8Array
    #: int64[P+1], the run of each piece in ``genre_bytes``.
    genre_offsets: Int64Array
    #: uint8, style names as UTF-8, comma-separated, decoded and trimmed; empty where unknown.
    genre_bytes: UInt8Array


@frozen(eq=False, kw_only=True)
class CorpusShard:
    """One shard: the pieces of one source file, normally memory-mapped."""

    #: The source file's name, for messages.
    source: str
    #: The music of its pieces.
    columns: ScoreColumns
    #: The names and hashes of its pieces.
    pieces: PieceTable
    #: Further columns that the source gave, by name: Arrow arrays with a value per piece, read on first use.
    metadata: Mapping[str, pa.Array] = Factory(dict)


@frozen(eq=False)
class Corpus:
    """Shards one after another; a *piece index* counts through all of them."""

    #: The shards in the order of the source.
    shards: Sequence[CorpusShard]
    #: int64[len(shards) + 1], piece index at which each shard starts.
    piece_offsets: Int64Array

    @property
    def num_pieces(self) -> int:
        """Number of pieces of all shards, including pieces without music."""
        return int(self.piece_offsets[-1])

    @overload
    def locate(self, pieces: int) -> tuple[int, int]: ...
    @overload
    def locate(self, pieces: Int64Array) -> tuple[Int64Array, Int64Array]: ...
    def locate(self, pieces: Any) -> tuple[Any, Any]:
        """The shard of each piece index, and the index of the piece within that shard; for one, or for int64[N]."""
        shards = self.piece_offsets.searchsorted(pieces, side="right") - 1
        return shards, pieces - self.piece_offsets[shards]


class MaskedAs(IntEnum):
    """How an encoder writes a masked bar (docs/encoder-specification.md, C.4)."""

    MASK_TOKEN = 0  #: MASK_BAR where the vocabulary has it, else the notes
    SPAN = 1  #: an empty shell, reported as a masked span
    REMOVED = 2  #: header and end only


@frozen(eq=False, kw_only=True)
class WindowBatch:
    """N windows to encode: which bars of which tracks of which piece, and what is done to them.

    T and B are the largest track and bar counts of the batch; what lies beyond a window's own counts is ignored.
    """

    #: int64[N], piece index in the corpus.
    piece: Int64Array
    #: int32[N], first bar.
    start_bar: Int32Array
    #: int32[N], number of bars taken.
    num_bars: Int32Array
    #: int32[N, T], track indices within the piece in the order they are written, -1 beyond the last.
    tracks: Int32Array
    #: bool[N, T, B], cells to fill in.
    infill: BoolArray
    #: bool[N, T, B], masked cells.
    masked: BoolArray
    #: int32[N], window size for the NumBars token; 0: the number of bars.
    window_bars: Int32Array
    #: int32[N], semitones added to melodic pitches, clamped to 0..127.
    transpose: Int32Array
    #: float64[N], factor on velocities: clamp(trunc(v * factor), 1, 127). NaN: velocities stay as they are.
    velocity_scale: Float64Array
    #: int32[N], genre id of the encoder, -1 none.
    genre: Int32Array
    #: int8[N], whether velocities are written: 0 off, 1 on, -1 the encoder's default (on).
    use_velocity: Int8Array
    #: int8[N], whether microtiming is written: 0 off, 1 on, -1 the encoder's default (on).
    use_microtiming: Int8Array
    #: int32[N], the track of the window that is written only up to its first ``partial_bars`` bars, without a track
    #: end; -1: none.
    partial_track: Int32Array
    #: int32[N], how many bars of ``partial_track`` are written; -1 where there is none.
    partial_bars: Int32Array
    #: uint8[N], :class:`MaskedAs`.
    masked_as: UInt8Array
    #: bool[N, K], attribute controls that are written; None: all.
    attributes_kept: BoolArray | None = None
    #: int16[N, T, 1+B, K], attribute values that replace computed ones (index 0: the track's own, 1+b: bar b), -1 where
    #: there is none; None: none anywhere.
    attribute_values: Int16Array | None = None
    #: Whether values that are not given are computed from the notes.
    compute_attributes: bool = True

    def __len__(self) -> int:
        return len(self.piece)


class TokenRole(IntEnum):
    """Whether the model is given a token or learns to write it."""

    CONTEXT = 0  #: the model is given it
    TARGET = 1  #: the model learns to write it


class TokenStatus(IntEnum):
    """How the encoding of one window ended."""

    OK = 0  #: the whole window is written
    CUT = 1  #: AR document cut to ``max_tokens`` at a bar line, header kept
    TRACKS_DROPPED = 2  #: infill document lost tracks to fit ``max_tokens``
    TOO_LONG = 3  #: does not fit in any way: no tokens
    UNSUPPORTED_SIGNATURE = 4  #: a time signature outside the encoder's list: no tokens
    UNSUPPORTED_VALUE = 5  #: any other value the vocabulary has no token for: no tokens


@frozen(eq=False, kw_only=True)
class TokenBatch:
    """N documents of token ids."""

    #: int32[total], the documents one after another.
    tokens: Int32Array
    #: int64[N+1], the run of each document in ``tokens``.
    offsets: Int64Array
    #: uint8[total], :class:`TokenRole`. Infill documents: everything from the first FillInStart on is target. AR
    #: documents: everything is target.
    role: UInt8Array
    #: uint8[N], :class:`TokenStatus`.
    status: UInt8Array
    #: int64[S, 3]: document, first token, end token (within the document) of each masked span.
    masked_spans: Int64Array
    #: int32[total], the position of each token in its document as the model is told it, at most its place; None: its
    #: place, from 0 in every document.
    positions: Int32Array | None = None

    def __len__(self) -> int:
        return len(self.status)


#: In scheduled notes: the model chooses this value.
FREE = -(2**31)


@frozen(kw_only=True)
class NoteGrid:
    """The values that an encoder's notes can have within a bar."""

    #: Ticks per quarter note.
    resolution: int
    #: Ticks of a bar that have a token: 0 to ``positions - 1``.
    positions: int
    #: Pitches that have a token: 0 to ``pitches - 1``.
    pitches: int


@frozen(eq=False, kw_only=True)
class BarNotes:
    """M notes of windows on an encoder's grid, by window, track, bar, tick and pitch, each once."""

    #: int32[M], index of the window in its batch.
    window: Int32Array
    #: int32[M], index of the track in the window.
    track: Int32Array
    #: int32[M], index of the bar in the window.
    bar: Int32Array
    #: int32[M, 5], see ``scheduled_notes`` of :class:`BarControls`.
    notes: Int32Array


@frozen(eq=False, kw_only=True)
class BarControls:
    """What the notes of the bars to write must be, for the N documents of a :class:`GrammarRequest`.

    Bars name rows of tables, which bars can share; -1: no control of this kind.
    """

    #: int32[N, T, B], rows of ``pitches``.
    pitch_rows: Int32Array
    #: bool[P, 128], the pitches that may be written.
    pitches: BoolArray
    #: int32[N, T, B], rows of ``pitch_weights``.
    pitch_weight_rows: Int32Array
    #: float32[Q, 128], at least 0: a pitch's share of the probability of all pitches is proportional to its probability
    #: times its weight. A pitch of weight 0 is written only if its bar allows no other one.
    pitch_weights: Float32Array
    #: int32[N, T, B], rows of ``position_weights``.
    position_weight_rows: Int32Array
    #: float32[R, G], as ``pitch_weights`` for the ticks 0 to G-1 of a bar at which notes begin.
    position_weights: Float32Array
    #: int32[N, T, B], schedules: exactly the notes of a bar's schedule are written, less those that the bar or a limit
    #: has no room for.
    schedule_rows: Int32Array
    #: int64[S+1], the run of each schedule in ``scheduled_notes``.
    schedule_offsets: Int64Array
    #: int32[M, 5], by tick: tick in the bar, pitch, duration in ticks less 1, velocity level, microtiming delta. Where
    #: the model chooses a value other than the tick, it is :data:`FREE`.
    scheduled_notes: Int32Array


@frozen(eq=False, kw_only=True)
class GrammarRequest:
    """What a grammar lets a model write into N documents; the bars to write are in the documents and empty."""

    #: bool[N, T, B], the bars to write, by track and bar of the document.
    cells: BoolArray
    #: bool[N], whether the model chooses attributes that a document leaves out. This applies to bars that are written
    #: in place (not in a fill block) and to tracks with such bars.
    choose_attributes: BoolArray
    #: int32[N], longest document in tokens; the grammar closes every bar before it is reached. 0: no limit.
    max_tokens: Int32Array
    #: int32[N], most notes in one written bar. 0: no limit.
    max_notes: Int32Array
    #: int32[N], most notes sounding at once in one written bar. 0: no limit.
    max_polyphony: Int32Array
    #: What the notes must be, for encoders that provide ``pitch_mask``, ``rhythm_mask`` or ``remix``; None: anything.
    bar_controls: BarControls | None = None


@frozen(eq=False, kw_only=True)
class PackedBatch:
    """R packed rows of L tokens, each with several documents.

    ``labels[t]`` is ``input_ids[t + 1]`` inside a document and :data:`IGNORED_LABEL` at a document's last token and in
    padding. They are already shifted: a model must not shift them.
    """

    #: int64[R, L], 0 in padding.
    input_ids: Int64Array
    #: int64[R, L]
    labels: Int64Array
    #: int64[R, L], from 0 in every document, as its encoder numbers it (:attr:`TokenBatch.positions`); 0 in padding.
    position_ids: Int64Array
    #: int32[R, L], from 0 in every packed row, -1 in padding.
    document_ids: Int32Array
    #: uint8[R, L], :class:`TokenRole`; CONTEXT in padding.
    role: UInt8Array
    #: int64[R], index of the packed row in the run's token stream (names the pieces: ``midigpt_core.data.blocks``).
    row: Int64Array


@frozen(eq=False, kw_only=True)
class ControlAnswers:
    """M requests for a level of an attribute control of a track, and the levels of the music that was generated."""

    #: int32[M], index into the encoder's ``attributes``.
    attribute: Int32Array
    #: int16[M], the requested level.
    requested: Int16Array
    #: int16[M], the level of the generated music as the encoder computes it; -1: it has none, a silent track, say.
    reached: Int16Array
    #: bool[M], whether the bars were generated from left to right; else they were filled in.
    autoregressive: BoolArray

    def __len__(self) -> int:
        return len(self.attribute)


@frozen(eq=False, kw_only=True)
class GeneratedMusic:
    """N excerpts of pieces with bars that a model generated, and the same excerpts as they were.

    Excerpt n has the same tracks and the same bars in both, and its tracks share their bars (``track_bar_end`` is
    None). Only the notes of ``cells`` differ. Apart from ``controls``, nothing was requested of the generated bars.
    """

    #: N pieces.
    generated: ScoreColumns
    #: N pieces, the excerpts as they were.
    true: ScoreColumns
    #: bool[N, T, B], the generated bars by track and bar of the excerpt.
    cells: BoolArray
    #: bool[N], whether the bars were generated from left to right; else they were filled in.
    autoregressive: BoolArray
    #: Other bars, for which levels were requested.
    controls: ControlAnswers

    def __len__(self) -> int:
        return len(self.cells)


@frozen(kw_only=True)
class Figure:
    """A number that a metric measures."""

    #: Of the generated bars; None: there is nothing to measure.
    value: float | None
    #: The lower end of its 95 % interval; None: not known.
    low: float | None = None
    #: The upper end.
    high: float | None = None
    #: What to compare it with; None: nothing.
    baseline: float | None = None
    #: What the baseline is: ``true bars``, ``shuffled requests``, …
    baseline_of: str = "true bars"
    #: How many ``counted`` the value rests on.
    count: int = 0
    #: What is counted: ``bars``, ``notes``, ``requests``, …
    counted: str = "bars"
    #: Whether it is a share, 0 to 1.
    is_share: bool = False

    def text(self, number: float | None) -> str:
        """``number``, one of the figure's, as people read it: ``12.3%`` or ``4.56``, or ``-`` for None."""
        if number is None:
            return "-"
        return f"{number:.1%}" if self.is_share else f"{number:.2f}"


@frozen(kw_only=True)
class Vocabulary:
    """The token ids of an encoder by type."""

    #: V: token ids run from 0 to V - 1.
    size: int
    #: Type names by type number, e.g. ``("PieceStart", "Track", ...)``.
    type_names: tuple[str, ...]
    #: uint8[V], type number of each token id.
    type_of: UInt8Array = field(eq=False)
    #: int32[V], value of each token id within its type.
    value_of: Int32Array = field(eq=False)
    #: Attribute controls in the order of the K axis.
    attributes: tuple[str, ...] = ()

    def name(self, token: int) -> str:
        """``"NoteOnset(60)"`` for a token id."""
        return f"{self.type_names[int(self.type_of[token])]}({int(self.value_of[token])})"
