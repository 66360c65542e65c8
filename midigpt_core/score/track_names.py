"""The names that a MIDI file gives its tracks. A score holds no names; these are for people."""

from __future__ import annotations

import struct

from midigpt_core.errors import DataError
from midigpt_core.score.reading import read_one

_HEADER = b"MThd"
_CHUNK = b"MTrk"
_META, _NAME = 0xFF, 0x03
_SYSTEM_EXCLUSIVE = (0xF0, 0xF7)
#: Events of a chunk before which a name must be found.
_MOST_EVENTS = 1000
_MOST_CHARACTERS = 80


def track_names(content: bytes) -> list[str]:
    """The name of each track of the score that ``content``, a standard MIDI file, is read as; empty without one.

    A chunk of the file can become several tracks, which share its name. Raises DataError if the file cannot be read.
    """
    whole = read_one(content, "the file")
    count = len(whole.track_program)
    names: list[str] = []
    programs: list[int] = []
    for chunk in _chunks(content):
        try:
            alone = read_one(_file_of(content, chunk), "a chunk")
        except DataError:
            continue
        names += [_name(chunk)] * len(alone.track_program)
        programs += alone.track_program.tolist()
    # Where chunks depend on one another, as in format 0 with ports, it is not known which name belongs to which track.
    return names if programs == whole.track_program.tolist() else [""] * count


def _chunks(content: bytes) -> list[bytes]:
    """The contents of the MTrk chunks."""
    found = []
    at = 8 + int.from_bytes(content[4:8], "big")
    while at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "big")
        if content[at : at + 4] == _CHUNK:
            found.append(content[at + 8 : at + 8 + size])
        at += 8 + size
    return found


def _file_of(content: bytes, chunk: bytes) -> bytes:
    """A file with one chunk, in the division of the whole one."""
    return _HEADER + struct.pack(">IHH", 6, 0, 1) + content[12:14] + _CHUNK + struct.pack(">I", len(chunk)) + chunk


def _name(chunk: bytes) -> str:
    """The first track name of a chunk; empty if it has none or cannot be followed."""
    at = status = 0
    try:
        for _ in range(_MOST_EVENTS):
            _, at = _number(chunk, at)
            if chunk[at] >= 0x80:
                status, at = chunk[at], at + 1
            if status == _META:
                kind = chunk[at]
                size, at = _number(chunk, at + 1)
                if kind == _NAME:
                    return _text(chunk[at : at + size])
                at += size
            elif status in _SYSTEM_EXCLUSIVE:
                size, at = _number(chunk, at)
                at += size
            else:
                at += 1 if 0xC0 <= status < 0xE0 else 2
    except IndexError:
        pass
    return ""


def _number(chunk: bytes, at: int) -> tuple[int, int]:
    value = 0
    while True:
        byte = chunk[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at


def _text(name: bytes) -> str:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = name.decode("latin-1")
    return text.strip("\0 ")[:_MOST_CHARACTERS]
