"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import SourceSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_sources():
    return [
        SourceSpec(
            name="folders",
            summary="folders of MIDI files",
            target="midigpt_plugin_folders.source:build",
            options="midigpt_plugin_folders.source:Options",
        )
    ]
