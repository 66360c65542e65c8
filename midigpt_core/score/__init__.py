"""Scores as columns: views without an object per note, reading and writing MIDI, the golden JSON form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from midigpt_core.score.score import Bar, Note, Notes, Score, Track

__all__ = ["Bar", "Note", "Notes", "Score", "Track"]


def __getattr__(name: str) -> Any:
    """Load the classes (and NumPy) when they are first asked for."""
    if name in __all__:
        from midigpt_core.score import score  # noqa: PLC0415

        return getattr(score, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
