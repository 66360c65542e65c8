"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import MaskSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_masks():
    return [
        MaskSpec(
            name="every-other",
            summary="hides every period-th bar",
            target="midigpt_plugin_every_other.mask:build",
            options="midigpt_plugin_every_other.mask:Options",
            requires={"mask_bar"},
        )
    ]
