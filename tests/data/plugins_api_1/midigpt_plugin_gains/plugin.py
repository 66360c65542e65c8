"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import AdapterSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_adapters():
    return [
        AdapterSpec(
            name="gains",
            summary="a factor for each output of each linear layer",
            target="midigpt_plugin_gains.adapter:build",
            options="midigpt_plugin_gains.adapter:Options",
            merge="midigpt_plugin_gains.adapter:merge",
        )
    ]
