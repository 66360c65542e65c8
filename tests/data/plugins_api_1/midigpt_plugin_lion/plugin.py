"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import OptimizerSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_optimizers():
    return [
        OptimizerSpec(
            name="lion",
            summary="steps of one size, by the sign of the momentum: Lion (Chen et al., 2023, arXiv:2302.06675)",
            target="midigpt_plugin_lion.optimizer:build",
            options="midigpt_plugin_lion.optimizer:Options",
        )
    ]
