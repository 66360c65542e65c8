"""What this plugin provides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core import hookimpl
from midigpt_core.components import EncoderSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

MIDIGPT_API = 1


@hookimpl
def midigpt_encoders() -> Iterable[EncoderSpec]:
    return [
        EncoderSpec(
            name="midigpt",
            summary="MIDI-GPT tokens: tracks of bars, infilling, bar masking, attribute controls",
            target="midigpt_encoder.factory:build",
            options="midigpt_encoder.factory:EncoderOptions",
            # For the default preset; an encoder instance adds the capabilities of its configuration.
            provides=frozenset({"infill", "placeholder_positions", "pitch_mask", "rhythm_mask", "remix"}),
            presets=("expressive", "ghost", "prism", "yellow"),
        )
    ]
