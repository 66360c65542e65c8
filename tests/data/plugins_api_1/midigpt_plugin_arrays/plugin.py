"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import CheckpointFormatSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_checkpoint_formats():
    return [
        CheckpointFormatSpec(
            name="arrays",
            summary="bundles as NumPy archives: the header as JSON, and one array per tensor",
            target="midigpt_plugin_arrays.checkpoint_format:build",
            options="midigpt_plugin_arrays.checkpoint_format:Options",
            suffixes=(".arrays",),
        )
    ]
