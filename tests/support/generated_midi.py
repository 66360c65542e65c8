"""MIDI files by seed: what sequencers write and what only a parser's author thinks of, always well-formed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from .midi_bytes import MidiBytes

#: The first eight divide 480, so that every tick has a counterpart; the others round.
RESOLUTIONS = (24, 48, 96, 120, 240, 480, 60, 160, 100, 192, 220, 384, 960, 1000, 1024, 15360, 32767)
_DRUMS = 9


class Generated(NamedTuple):
    content: bytes
    #: What there is in it: names of FEATURES.
    features: frozenset[str]


#: The differences between the files, apart from their numbers.
FEATURES = frozenset(
    {
        "format 0",
        "format 1",
        "format 2",
        "several chunks",
        "a chunk that is no track",
        "running status",
        "note off by velocity 0",
        "overlapping notes of one pitch",
        "a note off without a note",
        "notes never closed",
        "a program change between notes",
        "a tempo change",
        "a time signature change",
        "drums",
        "a lyric",
        "a system exclusive message",
        "no end of track",
        "a division that does not divide 480",
    }
)


def generate(seed: int, midi: MidiBytes) -> Generated:
    """One file: 1 to 6 tracks of up to 150 events each over some 16 quarters."""
    draw = np.random.default_rng(seed)
    division = int(draw.choice(RESOLUTIONS))
    count = int(draw.choice([1, 1, 2, 3, 6]))
    tracks = [_Chunk(draw, division, index, midi) for index in range(count)]
    chunks = [midi.chunk(track.events()) for track in tracks]
    features = {feature for track in tracks for feature in track.features}
    midi_format = int(draw.choice([0, 1, 2], p=[0.4, 0.5, 0.1]) if count == 1 else draw.choice([1, 2], p=[0.9, 0.1]))
    features.add(f"format {midi_format}")
    if count > 1:
        features.add("several chunks")
    if 480 % division:
        features.add("a division that does not divide 480")
    if draw.random() < 0.1:
        features.add("a chunk that is no track")
        chunks.insert(int(draw.integers(0, count)), midi.chunk(b"anything", name=b"XFIH"))
    return Generated(midi.header(count, division, midi_format) + b"".join(chunks), frozenset(features))


class _Chunk:
    """The events of one MTrk chunk, written in time order as they are drawn."""

    def __init__(self, draw: np.random.Generator, division: int, index: int, midi: MidiBytes) -> None:
        self.draw, self.division, self.index, self.midi = draw, division, index, midi
        self.channels = draw.choice(16, int(draw.choice([1, 1, 2, 4])), replace=False).tolist()
        if draw.random() < 0.2:
            self.channels.append(_DRUMS)
        self.pitches = draw.choice(128, int(draw.choice([2, 5, 40])), replace=False).tolist()
        self.open: list[tuple[int, int]] = []
        self.status = 0
        self.tick = 0
        self.features: set[str] = set()

    def events(self) -> bytes:
        parts = [self._at_start()]
        kinds, chances = zip(*self._kinds(), strict=True)
        for kind in self.draw.choice(len(kinds), int(self.draw.integers(20, 150)), p=np.array(chances) / sum(chances)):
            parts.append(self._wait() + kinds[kind]())
        while self.open and self.draw.random() < 0.95:
            parts.append(self._wait() + self._note_off())
        if self.open:
            self.features.add("notes never closed")
        if self.draw.random() < 0.9:
            parts.append(self._wait() + self._meta(0x2F, b""))
        else:
            self.features.add("no end of track")
        return b"".join(parts)

    def _kinds(self) -> list[tuple[Callable[[], bytes], float]]:
        first = self.index == 0
        return [
            (self._note_on, 10),
            (self._note_off, 9),
            (self._stray_off, 0.2),
            (self._program, 0.5),
            (self._control, 1),
            (self._signature, 0.3 if first else 0.05),
            (self._tempo, 0.3 if first else 0.05),
            (self._text, 0.3),
            (self._lyric, 0.1),
            (self._system_exclusive, 0.2),
        ]

    def _at_start(self) -> bytes:
        parts = [b"\0" + self._program() for _ in self.channels]
        if self.index == 0 and self.draw.random() < 0.7:
            parts += [b"\0" + self._signature(), b"\0" + self._tempo()]
        return b"".join(parts)

    def _wait(self) -> bytes:
        """Nothing, steps on a grid of sixteenths, or any number of ticks up to a quarter; rarely some bars."""
        grid = max(1, self.division // 4)
        steps = [0, grid * int(self.draw.integers(1, 5)), int(self.draw.integers(0, self.division + 1))]
        steps.append(self.division * int(self.draw.integers(4, 30)))
        step = int(self.draw.choice(steps, p=[0.45, 0.3, 0.24, 0.01]))
        self.tick += step
        return self.midi.number(step)

    def _channel(self) -> int:
        return int(self.draw.choice(self.channels))

    def _message(self, status: int, *data: int) -> bytes:
        """A channel message, often with running status."""
        running = status == self.status and self.draw.random() < 0.8
        self.status = status
        if running:
            self.features.add("running status")
        return bytes(data) if running else bytes([status, *data])

    def _note_on(self) -> bytes:
        note = self._channel(), int(self.draw.choice(self.pitches))
        if note in self.open:
            self.features.add("overlapping notes of one pitch")
        if note[0] == _DRUMS:
            self.features.add("drums")
        self.open.append(note)
        return self._message(0x90 | note[0], note[1], int(self.draw.integers(1, 128)))

    def _note_off(self) -> bytes:
        """Closes any open note, so that notes overlap, those of one pitch too; by note off or by velocity 0."""
        if not self.open:
            return self._stray_off()
        channel, pitch = self.open.pop(int(self.draw.integers(0, min(6, len(self.open)))))
        if self.draw.random() < 0.5:
            self.features.add("note off by velocity 0")
            return self._message(0x90 | channel, pitch, 0)
        return self._message(0x80 | channel, pitch, int(self.draw.integers(0, 128)))

    def _stray_off(self) -> bytes:
        self.features.add("a note off without a note")
        return self._message(0x80 | self._channel(), int(self.draw.integers(0, 128)), 0)

    def _program(self) -> bytes:
        if self.tick:
            self.features.add("a program change between notes")
        return self._message(0xC0 | self._channel(), int(self.draw.integers(0, 128)))

    def _control(self) -> bytes:
        status = int(self.draw.choice([0xA0, 0xB0, 0xD0, 0xE0]))
        data = self.draw.integers(0, 128, 1 if status == 0xD0 else 2).tolist()
        return self._message(status | self._channel(), *data)

    def _meta(self, kind: int, data: bytes) -> bytes:
        # Readers disagree on running status after a meta event; files in the wild do not use it.
        self.status = 0
        return bytes([0xFF, kind]) + self.midi.number(len(data)) + data

    def _signature(self) -> bytes:
        if self.tick:
            self.features.add("a time signature change")
        return self._meta(0x58, bytes([int(self.draw.integers(1, 13)), int(self.draw.integers(0, 5)), 24, 8]))

    def _tempo(self) -> bytes:
        if self.tick:
            self.features.add("a tempo change")
        return self._meta(0x51, int(self.draw.integers(100_000, 2_000_000)).to_bytes(3, "big"))

    def _text(self) -> bytes:
        return self._meta(int(self.draw.choice([1, 3, 6, 0x7F])), b"x" * int(self.draw.integers(0, 300)))

    def _lyric(self) -> bytes:
        self.features.add("a lyric")
        return self._meta(5, b"la")

    def _system_exclusive(self) -> bytes:
        self.features.add("a system exclusive message")
        self.status = 0
        return b"\xf0" + self.midi.number(4) + b"\x7e\x7f\x09\xf7"
