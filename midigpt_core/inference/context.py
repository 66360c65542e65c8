"""Ranks context tracks, for steps that cannot keep all of them.

The rule is :func:`rank_context`. It works on columns that :meth:`WindowContext.of` measures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from midigpt_core.score import editing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from midigpt_core.inference.planner import Step
    from midigpt_core.records import BoolArray, Int64Array
    from midigpt_core.score import Score
    from midigpt_core.score.editing import NoteTable

#: A track doubles another one that contains at least this share of its notes.
DOUBLING_SHARE = 0.8
#: The bass programs of General MIDI: from, up to but excluding.
_BASS_PROGRAMS = (32, 40)
_PROGRAMS_PER_FAMILY = 8
#: The family of drum tracks; programs have 0 to 15.
_DRUMS = 16
#: Onsets are compared to a twelfth of a quarter note.
_PLACES_PER_QUARTER = 12
#: Factors that keep the parts of a key apart; a bar of more quarters only mixes up places of its own.
_PLACES_PER_BAR = 1 << 20
_PITCHES = 256


@frozen(eq=False, kw_only=True)
class WindowContext:
    """What each of the T tracks of a score does in the window of one step, as far as the model can see it."""

    #: int64[T]: 3 sounds in a bar that is written, 2 in a bar next to one, 1 elsewhere in the window, 0 is silent.
    nearness: Int64Array
    #: int64[T], bars of the window in which the track sounds.
    bars: Int64Array
    #: int64[T], the family of General MIDI (program // 8), or 16 for drums.
    family: Int64Array
    #: bool[T], bass instruments; where none sounds, the lowest melodic track that does.
    bass: BoolArray
    #: Tracks that the step writes, ascending.
    written: tuple[int, ...]
    #: int64[N], the track of each distinct (place, pitch class) that sounds.
    note_track: Int64Array
    #: int64[N], a number for its place and pitch class; drums have their pitch.
    note_key: Int64Array

    @classmethod
    def of(cls, score: Score, step: Step, masked: BoolArray, before: BoolArray) -> WindowContext:
        """Measure ``score`` in the window of ``step``.

        ``masked``, ``before``: bool[T, bars of the window], cells that the model will not see, and cells that earlier
        steps will have written by then: they count as sounding, whatever is in them now.
        """
        window = np.arange(step.start_bar, step.end_bar)
        visible = ~masked
        tracks, bars = np.array(step.cells).T
        visible[tracks, bars - step.start_bar] = False
        table = editing.note_table(score)
        table = table.where((table.bar >= step.start_bar) & (table.bar < step.end_bar))
        # Notes that will be replaced say nothing about pitches.
        table = table.where((visible & ~before)[table.track, table.bar - step.start_bar])
        sounds = before & visible
        np.logical_or.at(sounds, table.track, _bars_of_notes(score, table, window))
        asked = np.isin(window, [bar for _, bar in step.cells])
        near = asked.copy()
        near[1:] |= asked[:-1]
        near[:-1] |= asked[1:]
        written = np.isin(np.arange(len(score.tracks)), step.tracks)
        drum = score.columns.track_drum.astype(np.bool_)
        program = score.columns.track_program.astype(np.int64)
        note_track, note_key = _notes(table, drum, score.resolution)
        return cls(
            # One for each of these three nested regions in which the track sounds.
            nearness=np.sum([sounds[:, bars].any(axis=1) for bars in (asked, near, slice(None))], axis=0),
            bars=np.count_nonzero(sounds, axis=1),
            family=np.where(drum, _DRUMS, program // _PROGRAMS_PER_FAMILY),
            bass=_basses(program, ~drum & (sounds.any(axis=1) | written), table),
            written=step.tracks,
            note_track=note_track,
            note_key=note_key,
        )

    def doubling(self, kept: int) -> BoolArray:
        """bool[T]: tracks that double track ``kept``: nearly all their notes are also in it."""
        tracks = len(self.nearness)
        shared = np.isin(self.note_key, self.note_key[self.note_track == kept])
        total = np.bincount(self.note_track, minlength=tracks)
        found = np.bincount(self.note_track[shared], minlength=tracks)
        return (total > 0) & (found >= DOUBLING_SHARE * total)


@frozen(eq=False, kw_only=True)
class Kept:
    """The facts about the tracks chosen so far that the clauses of the rule use."""

    #: bool[T], tracks that double one of those chosen.
    doubling: BoolArray
    #: Families of the tracks chosen and of those written.
    families: frozenset[int]
    #: Whether a bass is among the tracks chosen and those written.
    bass: bool

    @classmethod
    def at_first(cls, context: WindowContext, kept: Collection[int]) -> Kept:
        written = list(context.written)
        chosen = cls(
            doubling=np.zeros(len(context.nearness), np.bool_),
            families=frozenset(context.family[written].tolist()),
            bass=bool(context.bass[written].any()),
        )
        for track in kept:
            chosen = chosen.and_also(context, track)
        return chosen

    def and_also(self, context: WindowContext, track: int) -> Kept:
        if not context.nearness[track]:
            return self
        return Kept(
            doubling=self.doubling | context.doubling(track),
            families=self.families | {int(context.family[track])},
            bass=self.bass or bool(context.bass[track]),
        )


def sounding(context: WindowContext, kept: Kept) -> Int64Array:
    """Tracks that sound in the bars that are written, then next to them, then elsewhere in the window, then silence."""
    return 3 - context.nearness


def no_doubling(context: WindowContext, kept: Kept) -> Int64Array:
    """Tracks that double a track that is kept come after the others."""
    return kept.doubling.astype(np.int64)


def rhythm_section(context: WindowContext, kept: Kept) -> Int64Array:
    """Drums and a bass come first, unless the step writes them or one of them is kept."""
    missing_drums = (context.family == _DRUMS) & (_DRUMS not in kept.families)
    missing: BoolArray = missing_drums | (context.bass & (not kept.bass))
    return (~missing).astype(np.int64)


def other_families(context: WindowContext, kept: Kept) -> Int64Array:
    """Instruments of a family that is not among the tracks kept and written come before equal ones."""
    known: BoolArray = np.isin(context.family, list(kept.families))
    return known.astype(np.int64)


def busier(context: WindowContext, kept: Kept) -> Int64Array:
    """Tracks that sound in more bars of the window come first."""
    return -context.bars


#: The rule: an earlier clause counts more.
RULE = (sounding, no_doubling, rhythm_section, other_families, busier)


def rank_context(
    context: WindowContext,
    candidates: Collection[int],
    kept: Collection[int] = (),
    rule: Sequence[Callable[[WindowContext, Kept], Int64Array]] = RULE,
) -> list[int]:
    """``candidates``, context tracks of a step, from the one to keep longest to the first to leave out.

    ``kept`` are context tracks that stay whatever is chosen.

    One track after another is chosen; each clause of ``rule`` gives every track a number int64[T], and the track with
    the lowest numbers wins, the first clause counting most, then the lower track number. The clauses of :data:`RULE`:

    1. Tracks that sound in the bars that are written, then tracks that sound in the bars next to them, then elsewhere
       in the window; silent tracks come last (:func:`sounding`).
    2. A track of which nearly all notes are in a track already chosen, in the same place and pitch class, comes after
       all others (:func:`no_doubling`).
    3. Drums and a bass come first (:func:`rhythm_section`).
    4. Instruments of families not chosen yet come before those of families that are (:func:`other_families`).
    5. Tracks that sound in more bars of the window come first (:func:`busier`).
    """
    waiting = np.array(sorted(candidates), np.int64)
    chosen = Kept.at_first(context, kept)
    ranked: list[int] = []
    while len(waiting):
        numbers = [clause(context, chosen)[waiting] for clause in rule]
        # lexsort's last key counts most.
        best = int(waiting[np.lexsort(np.stack([waiting, *reversed(numbers)]))[0]])
        ranked.append(best)
        waiting = waiting[waiting != best]
        chosen = chosen.and_also(context, best)
    return ranked


def _bars_of_notes(score: Score, table: NoteTable, window: Int64Array) -> BoolArray:
    """bool[N, bars of the window]: the bars in which each note sounds. All tracks of the score have as many bars."""
    lengths = score.columns.bar_length.reshape(-1, editing.num_bars(score))[:, window] * score.resolution
    # Ticks from the start of the window.
    starts = np.cumsum(np.rint(lengths).astype(np.int64), axis=1)
    starts = np.hstack([np.zeros((len(starts), 1), np.int64), starts[:, :-1]])
    own = table.track if len(starts) > 1 else np.zeros_like(table.track)
    last = starts[own, table.bar - window[0]] + table.onset + table.duration - 1
    reached: BoolArray = (window >= table.bar[:, None]) & (starts[own] <= last[:, None])
    return reached


def _basses(program: Int64Array, melodic: BoolArray, table: NoteTable) -> BoolArray:
    """bool[T]: the bass instruments among the ``melodic`` tracks, or else the lowest of these tracks."""
    named = melodic & (program >= _BASS_PROGRAMS[0]) & (program < _BASS_PROGRAMS[1])
    if named.any():
        return named
    table = table.where(melodic[table.track])
    lowest = np.zeros(len(program), np.bool_)
    if len(table):
        order = np.lexsort((table.pitch, table.track))
        tracks, starts, counts = np.unique(table.track[order], return_index=True, return_counts=True)
        medians = table.pitch[order][starts + counts // 2]
        lowest[tracks[np.argmin(medians)]] = True
    return lowest


def _notes(table: NoteTable, drum: BoolArray, resolution: int) -> tuple[Int64Array, Int64Array]:
    """Track and key of each distinct place and pitch class of each track."""
    place = table.bar * _PLACES_PER_BAR + np.rint(table.onset * (_PLACES_PER_QUARTER / resolution)).astype(np.int64)
    pitch = table.pitch.astype(np.int64)
    # Above the twelve pitch classes, so that no melodic track doubles drums.
    key = place * _PITCHES + np.where(drum[table.track], 12 + pitch, pitch % 12)
    pairs = np.unique(np.stack([table.track, key], axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]
