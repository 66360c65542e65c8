"""The data source ``midifiles``: MIDI files in folders."""

from __future__ import annotations

from midigpt_core import hookimpl
from midigpt_core.components import SourceSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_sources() -> list[SourceSpec]:
    return [
        SourceSpec(
            name="midifiles",
            summary="MIDI files (.mid, .midi, .kar): files, folders and all in them, or globs",
            target="midigpt_midifiles.source:build",
        )
    ]
