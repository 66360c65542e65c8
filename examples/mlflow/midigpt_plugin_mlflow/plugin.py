"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import LoggerSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_loggers():
    return [
        LoggerSpec(
            name="mlflow",
            summary="MLflow: a tracking server, or a database in the run's folder",
            target="midigpt_plugin_mlflow.logger:build",
            options="midigpt_plugin_mlflow.options:Options",
        )
    ]
