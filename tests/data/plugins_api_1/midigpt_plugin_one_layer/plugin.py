"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import ArchitectureSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_architectures():
    return [
        ArchitectureSpec(
            name="one-layer",
            summary="one transformer layer with learned positions",
            target="midigpt_plugin_one_layer.architecture:build",
            options="midigpt_plugin_one_layer.architecture:Options",
        )
    ]
