"""Small MIDI files, written byte by byte: a tempo map, pedals and a marker among the notes."""

from __future__ import annotations

from support.midi_bytes import MidiBytes

TICKS = 480
_MIDI = MidiBytes()


def song(num_bars: int = 8, signature: tuple[int, int] = (4, 4), *, pedal: bool = True) -> bytes:
    """A piano melody with pedals, a bass, and drums; two tempos and a marker."""
    numerator, power = signature[0], signature[1].bit_length() - 1
    bar = TICKS * 4 * signature[0] // signature[1]
    conductor = [
        (0, bytes([0xFF, 0x58, 0x04, numerator, power, 24, 8])),
        (0, bytes([0xFF, 0x51, 0x03]) + (500_000).to_bytes(3, "big")),
        (4 * bar, bytes([0xFF, 0x51, 0x03]) + (400_000).to_bytes(3, "big")),
        (4 * bar, bytes([0xFF, 0x06, 0x06]) + b"chorus"),
    ]
    melody = [(0, bytes([0xFF, 0x03, 0x05]) + b"Piano"), (0, bytes([0xC0, 0]))]
    bass = [(0, bytes([0xFF, 0x03, 0x04]) + b"Bass"), (0, bytes([0xC1, 33]))]
    drums = []
    for number in range(num_bars):
        start = number * bar
        if pedal:
            melody += [(start, bytes([0xB0, 64, 127])), (start + bar - 10, bytes([0xB0, 64, 0]))]
        melody += _notes(0, start, bar // 4, [60 + (2 * number + step) % 12 for step in (0, 4, 7, 4)])
        bass += _notes(1, start, bar // 2, [36 + number % 5, 43])
        drums += _notes(9, start, bar // 4, [36, 42, 38, 42])
    return _MIDI.file(*(_chunk(events) for events in (conductor, melody, bass, drums)), division=TICKS)


def with_lyrics(num_bars: int = 8) -> bytes:
    """A melody with a syllable in each bar, which is read as two tracks: the second has the lyrics and no notes."""
    events = b"".join(
        _MIDI.note(60, TICKS, after=0) + b"\x00\xff\x05\x02la" + _MIDI.note(64, 3 * TICKS) for _ in range(num_bars)
    )
    return _MIDI.file(b"\x00\xff\x03\x06Melody" + events, division=TICKS)


def in_riff(content: bytes) -> bytes:
    """An ``.rmi`` file: a MIDI file in a RIFF container, after another part of odd length."""

    def part(name: bytes, data: bytes) -> bytes:
        return name + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2)

    return part(b"RIFF", b"RMID" + part(b"INFO", b"odd") + part(b"data", content))


def _notes(channel: int, start: int, step: int, pitches: list[int]) -> list[tuple[int, bytes]]:
    events = []
    for index, pitch in enumerate(pitches):
        at = start + index * step
        events += [(at, bytes([0x90 | channel, pitch, 80])), (at + step - 20, bytes([0x80 | channel, pitch, 64]))]
    return events


def _chunk(events: list[tuple[int, bytes]]) -> bytes:
    content, now = b"", 0
    for at, event in sorted(events, key=lambda one: one[0]):
        content += _MIDI.number(at - now) + event
        now = at
    return content
