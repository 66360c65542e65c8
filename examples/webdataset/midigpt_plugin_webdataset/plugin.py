"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import SourceSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_sources():
    return [
        SourceSpec(
            name="webdataset",
            summary="tar archives in which KEY.mid and KEY.json are one sample",
            target="midigpt_plugin_webdataset.source:build",
            options="midigpt_plugin_webdataset.source:Options",
        )
    ]
