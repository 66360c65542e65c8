"""The data source ``midifiles``: MIDI files in folders and archives."""

from __future__ import annotations

from midigpt_core import hookimpl
from midigpt_core.components import SourceSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_sources() -> list[SourceSpec]:
    return [
        SourceSpec(
            name="midifiles",
            summary="MIDI files (.mid, .midi, .kar, .rmi), also in .zip and .tar(.gz): files, folders, globs",
            target="midigpt_midifiles.source:build",
            options="midigpt_midifiles.options:MidiFilesOptions",
            suffixes=(".mid", ".midi", ".kar", ".rmi", ".zip", ".tar", ".tar.gz", ".tgz"),
        )
    ]
