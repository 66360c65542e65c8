"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl
from midigpt_core.components import LoggerSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_loggers():
    return [
        LoggerSpec(
            name="mlflow-lineage",
            summary="MLflow, with the run's data as datasets and the files that describe the run",
            target="midigpt_plugin_mlflow_lineage.logger:build",
            options="midigpt_plugin_mlflow_lineage.options:Options",
        )
    ]
