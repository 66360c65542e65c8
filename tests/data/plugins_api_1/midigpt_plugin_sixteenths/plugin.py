"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import EncoderSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_encoders():
    return [
        EncoderSpec(
            name="sixteenths",
            summary="bars of sixteenths: a track, its bars, and for every note its onset, pitch and duration",
            target="midigpt_plugin_sixteenths.encoder:build",
            options="midigpt_plugin_sixteenths.encoder:Options",
        )
    ]
