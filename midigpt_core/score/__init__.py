"""Scores as columns: views without an object per note, reading and writing MIDI, the golden JSON form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.lazy import lazy_names

if TYPE_CHECKING:
    from midigpt_core.score.score import Bar, Note, Notes, Score, Track

__all__ = ["Bar", "Note", "Notes", "Score", "Track"]

__getattr__ = lazy_names(__name__, dict.fromkeys(__all__, ".score"))
