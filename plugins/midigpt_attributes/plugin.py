"""The attribute controls that this plugin provides."""

from __future__ import annotations

from midigpt_core import hookimpl
from midigpt_core.components import AttributeSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_attributes() -> list[AttributeSpec]:
    return [
        AttributeSpec(
            name="syncopation",
            summary="how far the notes of a bar are from its beats, and how they sound across them (WNBD)",
            target="midigpt_attributes.syncopation:syncopation",
            level="bar",
            levels=8,
        ),
        AttributeSpec(
            name="chroma-entropy",
            summary="how evenly a track uses the twelve pitch classes",
            target="midigpt_attributes.chroma:chroma_entropy",
            level="track",
            levels=8,
            track_type="melodic",
        ),
    ]
