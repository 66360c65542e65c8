"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import MetricSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_metrics():
    return [
        MetricSpec(
            name="empty-bars",
            summary="the share of the generated bars that have no note",
            target="midigpt_plugin_empty_bars.metric:build",
            options="midigpt_plugin_empty_bars.metric:Options",
        )
    ]
