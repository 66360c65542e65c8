"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import EncoderSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_encoders():
    return [
        EncoderSpec(
            name="remi",
            summary="MidiTok's REMI without BPE: tracks of bars, and blocks of bars to fill in",
            target="midigpt_plugin_remi.encoder:build",
            options="midigpt_plugin_remi.encoder:Options",
        )
    ]
