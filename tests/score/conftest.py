"""The writer of MIDI bytes as a fixture."""

from __future__ import annotations

import pytest

from support.midi_bytes import MidiBytes


@pytest.fixture(scope="session")
def midi() -> MidiBytes:
    return MidiBytes()
