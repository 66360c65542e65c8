"""The base class for encoders written in Python, one window at a time."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from midigpt_core.contracts import Encoder
from midigpt_core.encoding.token_grammar import TableGrammar
from midigpt_core.errors import EncodingError
from midigpt_core.records import MaskedAs, ScoreColumns, TokenBatch, TokenStatus
from midigpt_core.score.columns import COLUMNS, OFFSETS, select
from midigpt_core.score.editing import replace_cells
from midigpt_core.score.score import Score, Track

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.encoding.token_grammar import TokenGrammar
    from midigpt_core.records import BoolArray, Corpus, Int32Array, Int64Array, UInt8Array, WindowBatch
    from midigpt_core.score.columns import Level


class WindowEncoder(Encoder):
    """Derives :meth:`encode_batch` from :meth:`encode_window`: an encoder in a few dozen lines of Python.

    Each window is passed as a score of its own: cut out, transposed and with velocities scaled. A native encoder works
    on the corpus columns instead and is some hundred times faster.
    """

    @abstractmethod
    def encode_window(self, score: Score, window: WindowBatch, index: int) -> tuple[Sequence[int], int]:
        """Token ids of one window, and the index of the first target (0: all tokens are targets).

        ``score`` has the window's bars and its tracks in the order in which they are written, transposition and
        velocity scale applied. Item ``index`` of ``window`` says which cells to fill in and to mask; bars that are
        masked without a token of their own are empty already. Raises :class:`midigpt_core.errors.EncodingError` for a
        value that the vocabulary has no token for.
        """

    @property
    def token_grammar(self) -> TokenGrammar | None:
        """What the notes of a bar can be in tokens, from which :meth:`grammar` is made; None: nothing is generated."""
        return None

    def grammar(self) -> TableGrammar | None:
        """A new grammar that follows :attr:`token_grammar`; None without one."""
        declared = self.token_grammar
        return None if declared is None else TableGrammar(declared, self.vocabulary)

    def accepts_signatures(self, numerators: Int32Array, denominators: Int32Array) -> BoolArray | None:
        """See :meth:`midigpt_core.contracts.Encoder.accepts_signatures`: those of ``time_signatures``, if any."""
        if not self.time_signatures:
            return None
        known = {*self.time_signatures}
        pairs = zip(numerators.tolist(), denominators.tolist(), strict=True)
        return np.fromiter((pair in known for pair in pairs), np.bool_, len(numerators))

    def typed(self, tokens: Int32Array) -> list[tuple[str, int]]:
        """Type and value of each token of a document. Raises :class:`midigpt_core.errors.EncodingError` for an id that
        the vocabulary does not have."""
        vocabulary, ids = self.vocabulary, np.asarray(tokens)
        foreign = (ids < 0) | (ids >= vocabulary.size)
        if foreign.any():
            raise EncodingError(
                f"token {ids[foreign][0]} is not of this encoder. Decode with the encoder that made the tokens."
            )
        names = [vocabulary.type_names[number] for number in vocabulary.type_of[ids].tolist()]
        return list(zip(names, vocabulary.value_of[ids].tolist(), strict=True))

    def encode_batch(self, corpus: Corpus, windows: WindowBatch, max_tokens: Int32Array) -> TokenBatch:
        """See :meth:`midigpt_core.contracts.Encoder.encode_batch`. A window that does not fit is TOO_LONG, because
        only the encoder knows what may be left out of a document."""
        tokens = [np.zeros(0, np.int32)]
        roles = [np.zeros(0, np.uint8)]
        status = np.zeros(len(windows), np.uint8)
        offsets = np.zeros(len(windows) + 1, np.int64)
        for index in range(len(windows)):
            document, role, status[index] = self._encode_one(corpus, windows, index, int(max_tokens[index]))
            tokens.append(document)
            roles.append(role)
            offsets[index + 1] = offsets[index] + len(document)
        return TokenBatch(
            tokens=np.concatenate(tokens),
            offsets=offsets,
            role=np.concatenate(roles),
            status=status,
            masked_spans=np.zeros((0, 3), np.int64),
        )

    def _encode_one(
        self, corpus: Corpus, windows: WindowBatch, index: int, max_tokens: int
    ) -> tuple[Int32Array, UInt8Array, TokenStatus]:
        nothing = np.zeros(0, np.int32), np.zeros(0, np.uint8)
        score = window_score(corpus, windows, index)
        if windows.masked_as[index] != MaskedAs.MASK_TOKEN:
            masked = windows.masked[index] & ~windows.infill[index]
            score = replace_cells(score, masked[: len(score.tracks), : int(windows.num_bars[index])])
        accepted = self.accepts_signatures(score.columns.bar_numerator, score.columns.bar_denominator)
        if accepted is not None and not accepted.all():
            return *nothing, TokenStatus.UNSUPPORTED_SIGNATURE
        try:
            written, first_target = self.encode_window(score, windows, index)
        except EncodingError:
            return *nothing, TokenStatus.UNSUPPORTED_VALUE
        ids = np.asarray(written)
        if len(ids) and ids.dtype.kind not in "iu":
            raise TypeError(f"encode_window() returned token ids of type {ids.dtype}, not integers")
        if 0 < max_tokens < len(ids):
            return *nothing, TokenStatus.TOO_LONG
        role = (np.arange(len(ids)) >= first_target).astype(np.uint8)
        return np.asarray(written, dtype=np.int32), role, TokenStatus.OK


def window_score(corpus: Corpus, windows: WindowBatch, index: int) -> Score:
    """Window ``index`` as a score: its tracks and bars, transposed (melodic tracks) and with velocities scaled."""
    shard, piece = corpus.locate(int(windows.piece[index]))
    columns = select(corpus.shards[shard].columns, [piece])
    tracks = windows.tracks[index]
    first_bar = int(windows.start_bar[index])
    cut = _cut(Score(columns), tracks[tracks >= 0], first_bar, first_bar + int(windows.num_bars[index]))
    drum = _per_note(cut["track_drum"], cut)
    pitch = np.clip(cut["note_pitch"].astype(np.int64) + int(windows.transpose[index]), 0, 127)
    cut["note_pitch"] = np.where(drum != 0, cut["note_pitch"], pitch).astype(np.uint8)
    scale = float(windows.velocity_scale[index])
    if not np.isnan(scale):
        cut["note_velocity"] = np.clip(np.trunc(cut["note_velocity"] * scale), 1, 127).astype(np.uint8)
    return Score(ScoreColumns(resolution=columns.resolution, tempo=columns.tempo, **cut))


def _cut(score: Score, tracks: Int32Array, first_bar: int, end_bar: int) -> dict[str, Any]:
    """The columns, without the tempo, of bars ``first_bar`` .. ``end_bar - 1`` of ``tracks`` in this order."""
    columns = score.columns
    starts = np.concatenate([[0], columns.cell_note_end])
    cells, notes, bars = [], [], []
    for track in tracks:
        view = Track(score, int(track))
        run = np.arange(view.cell_run.start, view.cell_run.stop)
        run = run[(columns.cell_bar[run] >= first_bar) & (columns.cell_bar[run] < end_bar)]
        cells.append(run)
        notes.append(np.arange(starts[run[0]], starts[run[-1] + 1]) if len(run) else run)
        own = np.arange(view.bar_run.start, view.bar_run.stop)
        bars.append(own[first_bar:end_bar])
    shared = columns.track_bar_end is None
    indices: dict[Level, Int64Array] = {
        "track": tracks.astype(np.int64),
        "bar": np.arange(len(columns.bar_length))[first_bar:end_bar] if shared else _joined(bars),
        "cell": _joined(cells),
        "note": _joined(notes),
    }
    cut: dict[str, Any] = {
        name: getattr(columns, name)[indices[spec.level]] for name, spec in COLUMNS.items() if spec.level != "piece"
    }
    cut["track_cell_end"] = _ends([len(run) for run in cells])
    cut["track_bar_end"] = None if shared else _ends([len(run) for run in bars])
    cut["cell_bar"] = cut["cell_bar"] - np.int32(first_bar)
    cut["cell_note_end"] = _ends(np.diff(starts)[indices["cell"]])
    return cut | {name: np.array([0, len(indices[level])]) for level, name in OFFSETS.items()}


def _per_note(track_values: UInt8Array, cut: dict[str, Any]) -> UInt8Array:
    ends = np.concatenate([[0], cut["cell_note_end"]])[cut["track_cell_end"]]
    return np.repeat(track_values, np.diff(ends, prepend=0))


def _joined(runs: Sequence[Int64Array]) -> Int64Array:
    return np.concatenate([np.zeros(0, np.int64), *runs])


def _ends(sizes: Any) -> Int32Array:
    return np.cumsum(sizes, dtype=np.int32)
