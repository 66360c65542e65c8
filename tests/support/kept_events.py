"""What must be equal about a MIDI file before and after some of its bars were written."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from midigpt_core.score import Score

from .smf_events import END_OF_TRACK, Event, Note, Smf

if TYPE_CHECKING:
    from collections.abc import Set


Ticks = dict[tuple[int, int, int], list[tuple[int, int]]]


def _starts_in(smf: Smf, written: Ticks) -> list[Note]:
    """The notes that start in ``written``: ticks [first, end) by track."""
    return [note for note in smf.notes() if any(first <= note.on < end for first, end in written.get(note.track, ()))]


def _without(smf: Smf, notes: list[Note]) -> list[list[Event]]:
    """The events of each chunk, less those of ``notes``."""
    dropped = {(note.track[0], index) for note in notes for index in note.events}
    return [
        [event for index, event in enumerate(events) if (chunk, index) not in dropped]
        for chunk, events in enumerate(smf.chunks)
    ]


def assert_only_cells_differ(before: bytes, after: bytes, cells: Set[tuple[int, int]]) -> None:
    """Every event of ``before`` stands in ``after`` at its tick, in its order, but notes that start in ``cells``
    (track, bar); added are only notes there, and chunks behind the others."""
    old, new = Smf(before), Smf(after)
    assert new.division == old.division
    added_chunks = len(new.chunks) - len(old.chunks)
    assert (new.format, new.announced) == (old.format, old.announced) or added_chunks > 0
    assert new.others[: len(old.others)] == old.others or added_chunks > 0
    tracks, ticks = old.tracks(), old.bar_ticks()
    written: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    for track, bar in cells:
        if track < len(tracks) and bar + 1 < len(ticks):
            written.setdefault(tracks[track], []).append((ticks[bar], ticks[bar + 1]))
        elif track < len(tracks):
            # Bars that were added behind the last one.
            written.setdefault(tracks[track], []).append((ticks[-1], 1 << 60))
    old_notes, new_notes = _starts_in(old, written), _starts_in(new, written)
    outside = zip(_without(old, old_notes), _without(new, new_notes), strict=False)
    for chunk, (kept, found) in enumerate(outside):
        assert [event.message for event in kept if not _may_move(event)] == [
            event.message for event in found if not _may_move(event)
        ], f"chunk {chunk}"
        # Of ends at one tick it does not matter which ends what: all are there, and one for each note that is new.
        note_ends = [
            Counter(event.message for event in events if event.ends_note) for events in (kept, new.chunks[chunk])
        ]
        assert not note_ends[0] - note_ends[1], f"chunk {chunk}"
        closed = sum(note.off is not None for note in new_notes if note.track[0] == chunk)
        assert (note_ends[1] - note_ends[0]).total() == closed, f"chunk {chunk}"
        ends = [[event.tick for event in events if event.is_meta(END_OF_TRACK)] for events in (kept, found)]
        assert len(ends[0]) == len(ends[1])
        if ends[0]:
            last = max((event.tick for event in new.chunks[chunk][:-1]), default=0)
            assert ends[1][0] == max(ends[0][0], last)
        # The program of a track is set where another one plays on its channel.
        programs = [Counter(event.message for event in events if event.is_program) for events in (kept, found)]
        assert not programs[0] - programs[1]
        starts = {note.on for note in new.notes() if note.track[0] == chunk and note.track in written}
        assert {message[0] for message in programs[1] - programs[0]} <= starts
    assert_notes_outside_equal(before, after, cells)


def _may_move(event: Event) -> bool:
    silent = event.is_meta(0x7F) and event.data[1:9] == b"\x7dmidigpt"
    return event.is_meta(END_OF_TRACK) or event.is_program or event.ends_note or silent


def assert_notes_outside_equal(before: bytes, after: bytes, cells: Set[tuple[int, int]]) -> None:
    """Reading both files gives the same tracks and, outside ``cells``, the same notes."""
    old, new = Score.from_bytes(before).to_dict(), Score.from_bytes(after).to_dict()
    count = len(old["tracks"])
    assert [(track["program"], track["drum"]) for track in new["tracks"][:count]] == [
        (track["program"], track["drum"]) for track in old["tracks"]
    ]
    for index in range(count):
        kept, found = (
            [note for note in score["tracks"][index]["notes"] if (index, note[0]) not in cells] for score in (old, new)
        )
        assert kept == found, f"track {index}"
    assert new["tempo"] == old["tempo"]


def assert_follows_the_standard(content: bytes, like: bytes | None = None) -> None:
    """After a meta event or a system message a channel message has its status byte, but where ``like`` has it so."""
    known = (
        set()
        if like is None
        else {event.message for events in Smf(like).chunks for event in events if not event.explicit}
    )
    for events in Smf(content).chunks:
        for before, event in pairwise(events):
            if before.status >= 0xF0 and event.status < 0xF0:
                assert event.explicit or event.message in known
