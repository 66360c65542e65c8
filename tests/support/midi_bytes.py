"""MIDI files put together byte by byte, good and bad."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

END_OF_TRACK = b"\x00\xff\x2f\x00"


class MidiBytes:
    """Puts MIDI files together byte by byte."""

    end = END_OF_TRACK

    @staticmethod
    def number(value: int) -> bytes:
        """Base-128, as delta times are written."""
        digits = [value & 0x7F]
        while value := value >> 7:
            digits.append(value & 0x7F | 0x80)
        return bytes(reversed(digits))

    @staticmethod
    def chunk(events: bytes, name: bytes = b"MTrk", length: int | None = None) -> bytes:
        return name + (len(events) if length is None else length).to_bytes(4, "big") + events

    @staticmethod
    def header(tracks: int = 1, division: int = 480, midi_format: int = 1, length: int = 6) -> bytes:
        fields = (midi_format, tracks, division)
        return b"MThd" + length.to_bytes(4, "big") + b"".join(field.to_bytes(2, "big") for field in fields)

    def file(self, *tracks: bytes | Iterable[bytes], division: int = 480) -> bytes:
        """A whole file; each track is its events, without the end of track."""
        joined = [events if isinstance(events, bytes) else b"".join(events) for events in tracks]
        return self.header(len(joined), division) + b"".join(self.chunk(events + END_OF_TRACK) for events in joined)

    def note(self, pitch: int = 60, duration: int = 480, after: int = 0, channel: int = 0, velocity: int = 80) -> bytes:
        on = self.number(after) + bytes([0x90 | channel, pitch, velocity])
        return on + self.number(duration) + bytes([0x80 | channel, pitch, 0])

    def signature(self, numerator: int, log2_denominator: int, after: int = 0) -> bytes:
        return self.number(after) + bytes([0xFF, 0x58, 4, numerator, log2_denominator, 24, 8])
