"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import SourceSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_sources():
    return [
        SourceSpec(
            name="notation",
            summary="MusicXML (.musicxml, .mxl) and ABC (.abc), read by music21",
            target="midigpt_plugin_notation.source:build",
            suffixes=(".musicxml", ".mxl", ".abc"),
        )
    ]
