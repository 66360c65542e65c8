"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import AttributeSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_attributes():
    return [
        AttributeSpec(
            name="leaps",
            summary="how far the notes of a track leap, on average",
            target="midigpt_plugin_leaps.attribute:compute",
            level="track",
            levels=6,
            track_type="melodic",
        )
    ]
