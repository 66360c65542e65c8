"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import LoggerSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_loggers():
    return [
        LoggerSpec(
            name="lines",
            summary="writes every metric as a line of a text file in the run's folder",
            target="midigpt_plugin_lines.logger:build",
            options="midigpt_plugin_lines.logger:Options",
        )
    ]
