"""The data source ``gigamidi``: MIDI files in the GigaMIDI data set's parquet layout."""

from __future__ import annotations

from midigpt_core import hookimpl
from midigpt_core.components import SourceSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_sources() -> list[SourceSpec]:
    return [
        SourceSpec(
            name="gigamidi",
            summary="parquet shards as in the GigaMIDI data set: files, folders, globs, or hf:// addresses on the Hub",
            target="midigpt_gigamidi.source:build",
            options="midigpt_gigamidi.options:GigamidiOptions",
            suffixes=(".parquet",),
            schemes=("hf",),
        )
    ]
