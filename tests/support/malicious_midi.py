"""Files made to use up memory or time, each with what becomes of it. docs/limits.md has a row for every one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .midi_bytes import MidiBytes


def tempo_events(count: int) -> bytes:
    return b"\x00\xff\x51\x03\x07\xa1\x20" * count


def running_status(count: int) -> bytes:
    return b"\x00\x90\x3c\x50" + b"\x00\x3c\x00\x00\x3c\x50" * count


def programs_with_a_note_each(midi: MidiBytes) -> bytes:
    """A track for each of 16 channels and 128 programs in one chunk."""
    return b"".join(
        bytes([0, 0xC0 | channel, program]) + midi.note(channel=channel, duration=1)
        for channel in range(16)
        for program in range(128)
    )


def all_notes_to_the_end(midi: MidiBytes) -> bytes:
    """100 k notes that start in the first bar and end in the last of 20,000."""
    starts = b"\x00\x90\x3c\x50" + b"\x00\x3c\x50" * 99_999
    ends = midi.number(79_999) + b"\x3c\x00" + b"\x00\x3c\x00" * 99_999
    return starts + ends


def in_a_late_bar(midi: MidiBytes) -> bytes:
    return midi.note(after=79_990, duration=1)


def signatures_descending(midi: MidiBytes, count: int) -> list[bytes]:
    """Each chunk's signature lies before that of the chunk before it."""
    return [midi.signature(4, 2, after=count - index) for index in range(count)]


#: Exponents of denominators that no time signature has.
DENOMINATORS = range(8, 256)


def with_denominator(exponent: int, midi: MidiBytes) -> bytes:
    return midi.file(midi.signature(4, exponent) + midi.note())


#: What makes the file, and how reading it ends (``csrc/midi/errors.h``), by name.
MALICIOUS: dict[str, tuple[Callable[[MidiBytes], bytes], str]] = {
    "denominator 2^8": (partial(with_denominator, 8), "time_signature_denominator"),
    "denominator 2^255": (partial(with_denominator, 255), "time_signature_denominator"),
    "numerator 0": (lambda m: m.file(m.signature(0, 2) + m.note()), "empty_bars"),
    "signature of length 0": (lambda m: m.file(m.signature(1, 7) + m.note(), division=24), "empty_bars"),
    "a note 2^28 ticks away at 1 tick per quarter": (
        lambda m: m.file(m.note(after=2**28 - 1, duration=1), division=1), "too_many_bars"),
    "the same with 1/64 bars": (
        lambda m: m.file(m.signature(1, 6) + m.note(after=2**28 - 1, duration=1), division=16), "too_many_bars"),
    "100 k bars x 16 tracks": (
        lambda m: m.file(*[m.note(duration=400_000) for _ in range(16)], division=1), "too_many_bars"),
    "65,535 tracks, empty": (lambda m: m.file(*[b""] * 65_535), "none"),
    "65,535 tracks with a note each": (lambda m: m.file(*[m.note()] * 65_535), "too_many_tracks"),
    "1,024 tracks in the last of 20,000 bars": (lambda m: m.file(*[in_a_late_bar(m)] * 1024, division=1), "none"),
    "20 k notes over 80 k bars": (
        lambda m: m.file(m.note(duration=4, after=12) * 20_000, division=1), "too_many_bars"),
    "100 k notes across 20 k bars": (lambda m: m.file(all_notes_to_the_end(m), division=1), "none"),
    "ten million tempo events": (lambda m: m.file(tempo_events(10_000_000)), "file_too_large"),
    "two million tempo events": (lambda m: m.file(tempo_events(2_000_000)), "none"),
    "200 k time signatures": (lambda m: m.file(m.signature(4, 2) * 200_000), "too_many_time_signatures"),
    "19 k time signatures in descending order": (lambda m: m.file(*signatures_descending(m, 19_000)), "none"),
    "chunk length 2^32-1": (lambda m: m.header() + m.chunk(m.note(), length=2**32 - 1), "chunk_length"),
    "2,048 program changes with a note each": (lambda m: m.file(programs_with_a_note_each(m)), "too_many_tracks"),
    "a million program changes": (lambda m: m.file(m.note() + b"\x00\xc0\x00\x00\x01" * 1_000_000), "none"),
    "tick sums beyond 2^31": (lambda m: m.file(m.note() + b"\xff\xff\xff\x7f\xb0\x00\x00" * 9), "too_many_ticks"),
    "ticks beyond 2^31 in the score only": (
        lambda m: m.file(m.signature(255, 0) + m.note(duration=5_000_000), division=1), "too_many_ticks"),
    "running status, 16 MiB": (lambda m: m.file(running_status(2_700_000)), "too_many_notes"),
    "a million notes by running status": (lambda m: m.file(running_status(999_999)), "none"),
    "running status of a system message": (
        lambda m: m.file(b"\x00\xf0\x02\x00\xf7" + b"\x00\x3c\x50\x00" * 1000), "none"),
    "data bytes above 127": (lambda m: m.file(b"\x00\x90\xff\xff" * 1000), "data_byte"),
    "a million notes never closed": (lambda m: m.file(b"\x00\x90\x3c\x50" + b"\x00\x3c\x50" * 999_999), "none"),
}  # fmt: skip


def cuts(content: bytes) -> Iterator[bytes]:
    """A file cut off after every byte, from none to all but the last."""
    return (content[:size] for size in range(len(content)))


def cuts_within_a_track(content: bytes) -> Iterator[bytes]:
    """The tracks of a file, each alone and cut off after every byte, with a length that says so: what is missing is
    found out event by event."""
    position = 14
    while position + 8 <= len(content):
        end = position + 8 + int.from_bytes(content[position + 4 : position + 8], "big")
        events = content[position + 8 : end]
        for size in range(len(events)):
            yield content[:14] + b"MTrk" + size.to_bytes(4, "big") + events[:size]
        position = end
