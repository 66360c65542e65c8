"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import LoggerSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_loggers():
    return [
        LoggerSpec(
            name="trackio",
            summary="Trackio: a dashboard on this machine, or a Space on the Hub",
            target="midigpt_plugin_trackio.logger:build",
            options="midigpt_plugin_trackio.options:Options",
        )
    ]
