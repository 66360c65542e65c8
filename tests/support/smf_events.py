"""Standard MIDI files as lists of events, read plainly and apart from the code under test."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

END_OF_TRACK = 0x2F
_SYSTEM_SIZES = {0xF1: 1, 0xF2: 2, 0xF3: 1}


class Event(NamedTuple):
    tick: int
    #: The status in effect, 0xFF for a meta event.
    status: int
    #: Data bytes; of a meta event its type first, of a system exclusive message its length first.
    data: bytes
    #: A status byte stands in the file.
    explicit: bool

    @property
    def starts_note(self) -> bool:
        return self.status >> 4 == 0x9 and self.data[1] > 0

    @property
    def ends_note(self) -> bool:
        return self.status >> 4 == 0x8 or (self.status >> 4 == 0x9 and self.data[1] == 0)

    @property
    def is_program(self) -> bool:
        return self.status >> 4 == 0xC

    def is_meta(self, kind: int) -> bool:
        return self.status == 0xFF and self.data[0] == kind

    @property
    def message(self) -> tuple[int, int, bytes]:
        """All of it but how the status is written."""
        return self.tick, self.status, self.data


class Note(NamedTuple):
    #: Chunk, channel, program.
    track: tuple[int, int, int]
    on: int
    #: None: never closed.
    off: int | None
    pitch: int
    #: Indices of its events in the chunk.
    events: tuple[int, ...]


class Smf:
    """A file: its header and its MTrk chunks, each a list of events."""

    def __init__(self, content: bytes) -> None:
        self.format, self.announced, self.division = (int.from_bytes(content[at : at + 2], "big") for at in (8, 10, 12))
        self.chunks: list[list[Event]] = []
        #: The bytes between the MTrk chunks, and after the end of track within each.
        self.others: list[bytes] = []
        at = 14
        while at < len(content) and len(self.chunks) < self.announced:
            name, length = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "big")
            body = content[at + 8 : at + 8 + length]
            if name == b"MTrk":
                events, rest = _events(body)
                self.chunks.append(events)
                self.others.append(rest)
            else:
                self.others.append(content[at : at + 8 + length])
            at += 8 + length
        self.others.append(content[at:])

    def notes(self) -> list[Note]:
        """All notes; a note end closes the oldest open note of its channel and pitch in its chunk."""
        return [note for chunk, events in enumerate(self.chunks) for note in _notes(chunk, events)]

    def tracks(self) -> list[tuple[int, int, int]]:
        """(chunk, channel, program) of each track in the order of the score, those with lyrics or a silent-track event
        included."""
        found = {note.track for note in self.notes()}
        for chunk, events in enumerate(self.chunks):
            program = 0
            for event in events:
                if event.status == 0xCF:
                    program = event.data[0]
                if event.is_meta(0x05) and len(event.data) > 1:
                    found.add((chunk, 15, program))
                if event.is_meta(0x7F) and event.data[1:9] == b"\x7dmidigpt":
                    found.add((chunk, event.data[9], event.data[10]))
        return sorted(found)

    def bar_ticks(self) -> list[int]:
        """Where each bar starts, and where the last one ends."""
        division = self.division or 480
        signatures = {0: (4, 2)}
        end = 0
        for events in self.chunks:
            for event in events:
                if event.is_meta(0x58):
                    signatures[event.tick] = (event.data[1], event.data[2])
                    end = max(end, event.tick)
        end = max([end, *(note.off for note in self.notes() if note.off is not None)])
        starts = []
        ordered = sorted(signatures)
        for index, tick in enumerate(ordered):
            numerator, power = signatures[tick]
            length = 4 * division * numerator >> power
            if not length:
                continue
            last = index + 1 == len(ordered)
            until = max(end, tick + 1) if last else ordered[index + 1]
            starts += range(tick, until, length)
            if last:
                starts.append(starts[-1] + length)
        return starts


def _events(body: bytes) -> tuple[list[Event], bytes]:
    events: list[Event] = []
    at = tick = status = size = 0

    def number() -> int:
        nonlocal at
        value = 0
        for _ in range(4):
            byte = body[at]
            at += 1
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                break
        return value

    while at < len(body):
        tick += number()
        explicit = body[at] >= 0x80
        if body[at] == 0xFF:
            kind = body[at + 1]
            at += 2
            length = number()
            events.append(Event(tick, 0xFF, bytes([kind]) + body[at : at + length], True))
            at += length
            if kind == END_OF_TRACK:
                break
            continue
        if explicit:
            status = body[at]
            at += 1
            if status == 0xF0:
                before = at
                length = number()
                size, at = at - before + length, before
            elif status >= 0xF0:
                size = _SYSTEM_SIZES.get(status, 0)
        count = size if status >= 0xF0 else 1 if status >> 4 in (0xC, 0xD) else 2
        events.append(Event(tick, status, body[at : at + count], explicit))
        at += count
    return events, body[at:]


def _notes(chunk: int, events: list[Event]) -> list[Note]:
    program: dict[int, int] = defaultdict(int)
    waiting: dict[tuple[int, int], list[int]] = defaultdict(list)
    notes: list[Note] = []
    for index, event in enumerate(events):
        channel = event.status & 0x0F
        if event.is_program:
            program[channel] = event.data[0]
        elif event.starts_note:
            waiting[channel, event.data[0]].append(len(notes))
            notes.append(Note((chunk, channel, program[channel]), event.tick, None, event.data[0], (index,)))
        elif event.ends_note and (open_notes := waiting[channel, event.data[0]]):
            note = notes[open_notes[0]]
            notes[open_notes.pop(0)] = note._replace(off=event.tick, events=(*note.events, index))
    return notes
