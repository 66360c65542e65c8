"""Lightning's MLflow logger, for runs that are continued and servers that go away."""

import logging
import os

from lightning.pytorch.loggers import MLFlowLogger
from mlflow.exceptions import MlflowException

from midigpt_core.errors import PluginError
from midigpt_core.files import write_text

#: Read once: MLflow puts the address of each logger into this variable, and the next run is another one.
ADDRESS = os.environ.get("MLFLOW_TRACKING_URI", "")
#: The file in the run's folder that names its MLflow run.
RUN_ID = "mlflow_run_id.txt"

log = logging.getLogger(__name__)


class Logger(MLFlowLogger):
    """Stops logging when the server is lost; the run goes on, and metrics.jsonl has every metric."""

    lost = False

    def log_metrics(self, metrics, step=None):
        if self.lost:
            return
        try:
            super().log_metrics(metrics, step)
        except MlflowException as error:
            self.lost = True
            log.warning("logger 'mlflow' stops at step %s, metrics.jsonl goes on: %s", step, _line(error))

    def finalize(self, status="success"):
        if not self.lost:
            super().finalize(status)

    def log_sample(self, name, midi, piano_roll, step):
        """Store the MIDI file and its picture among the run's artifacts, under the step."""
        for file in (midi, piano_roll):
            self.experiment.log_artifact(self.run_id, str(file), f"samples/{step}")


def build(options, context):
    """A logger of a new MLflow run, or of the one that the run's folder names if the training run is continued.

    Raises :class:`PluginError` if the server or database cannot be used.
    """
    folder = context.run_dir.resolve()
    uri = options.tracking_uri or ADDRESS or f"sqlite:///{folder}/mlflow.db"
    known = context.run_dir / RUN_ID
    continues = context.continues and known.is_file()
    try:
        logger = Logger(
            experiment_name=options.experiment,
            run_name=context.run_name,
            tracking_uri=uri,
            tags=dict(options.tags),
            # A server says where artifacts go; for a database MLflow would take the current folder.
            artifact_location=(folder / "mlflow_artifacts").as_uri() if uri.startswith("sqlite:") else None,
            run_id=known.read_text(encoding="utf-8").strip() if continues else None,
        )
        run_id = logger.run_id
    except MlflowException as error:
        raise PluginError(
            f"logger 'mlflow' cannot start its run at {uri}: {_line(error)}. "
            "Check tracking_uri, or choose another logger."
        ) from error
    # Only the first rank has a run.
    if run_id is not None and not continues:
        write_text(known, run_id)
    return logger


def _line(error):
    return " ".join(str(error).split()).rstrip(".")
