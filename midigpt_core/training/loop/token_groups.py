"""The groups of token types by which losses are reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midigpt_core.records import Vocabulary

GROUPS = ("pitch", "duration", "position", "velocity", "structure", "attribute")

#: The group of each type that is not an attribute, by the names that encoders use. ``Pitch`` and the like are REMI's.
_GROUP_OF = {
    **dict.fromkeys(("NoteOnset", "NotePitch", "NoteOffset", "Pitch"), "pitch"),
    **dict.fromkeys(("NoteDuration", "Duration"), "duration"),
    **dict.fromkeys(("TimeAbsolutePos", "TimeDelta", "Delta", "DeltaDirection", "Position", "TimeShift"), "position"),
    **dict.fromkeys(("VelocityLevel", "Velocity"), "velocity"),
    **dict.fromkeys(
        (
            "PieceStart",
            "None",
            "Header",
            "Track",
            "TrackEnd",
            "DrumTrack",
            "Instrument",
            "Program",
            "Bar",
            "BarEnd",
            "TimeSig",
            "Tempo",
            "NumBars",
            "Segment",
            "SegmentEnd",
            "SegmentFillIn",
            "FillIn",
            "FillInPlaceholder",
            "FillInStart",
            "FillInEnd",
            "MaskBar",
            "UseVelocity",
            "UseMicrotiming",
            "Genre",
        ),
        "structure",
    ),
}


def group_of_types(vocabulary: Vocabulary) -> tuple[int, ...]:
    """The index into :data:`GROUPS` of each type. Types without a known name are attributes."""
    return tuple(GROUPS.index(_GROUP_OF.get(name, "attribute")) for name in vocabulary.type_names)
