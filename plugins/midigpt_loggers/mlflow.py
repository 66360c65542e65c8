"""MLflow: a tracking server, or a database in the run's folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lightning.pytorch.loggers import MLFlowLogger

from midigpt_core.errors import PluginError
from midigpt_core.files import write_text
from midigpt_core.terminal import logger
from midigpt_loggers.requirements import require, require_utf8

require("mlflow", "mlflow")

from mlflow.exceptions import MlflowException  # noqa: E402 (an extra: the line above raises if it is missing)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from midigpt_core.contracts import LoggerContext
    from midigpt_loggers.options import MlflowOptions

#: Read once: MLflow puts the address of each logger into this variable, and the next run may have another one.
_ADDRESS = os.environ.get("MLFLOW_TRACKING_URI", "")
#: The file in the run's folder that names its MLflow run.
RUN_ID = "mlflow_run_id.txt"

log = logger(__name__)


class _Mlflow(MLFlowLogger):
    """Stops logging when the server is lost, while the run goes on; takes samples."""

    lost = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self.lost:
            return
        try:
            super().log_metrics(metrics, step)
        except MlflowException as error:
            self._lose(error, step)

    def finalize(self, status: str = "success") -> None:
        if not self.lost:
            super().finalize(status)

    def log_sample(self, name: str, midi: Path, piano_roll: Path, step: int) -> None:
        """Store the MIDI file and its picture among the run's artifacts, under the step."""
        self._store(step, midi, piano_roll)

    def log_sample_audio(self, name: str, audio: Path, step: int) -> None:
        """Store the sound next to the sample's other files."""
        self._store(step, audio)

    def _store(self, step: int, *files: Path) -> None:
        if self.lost:
            return
        try:
            for file in files:
                self.experiment.log_artifact(self.run_id, str(file), f"samples/step{step}")
        except MlflowException as error:
            self._lose(error, step)

    def _lose(self, error: MlflowException, step: int | None) -> None:
        self.lost = True
        log.warning("logger 'mlflow' stops at step %s, metrics.jsonl goes on: %s", step, _line(error))


def build(options: MlflowOptions, context: LoggerContext) -> MLFlowLogger:
    """Build a logger of a new MLflow run, or of the one that the run's folder names if the training run is continued.

    Raises :class:`PluginError` if the server or the database cannot be used.
    """
    require_utf8(context.run_dir, "mlflow")
    folder = context.run_dir.resolve()
    uri = options.tracking_uri or _ADDRESS or f"sqlite:///{folder}/mlflow.db"
    known = context.run_dir / RUN_ID
    continues = context.continues and known.is_file()
    try:
        built = _Mlflow(
            experiment_name=options.experiment,
            run_name=context.run_name,
            tracking_uri=uri,
            tags=dict(options.tags),
            # A server decides where artifacts go; for a database MLflow would take the current folder.
            artifact_location=(folder / "mlflow_artifacts").as_uri() if uri.startswith("sqlite:") else None,
            run_id=known.read_text(encoding="utf-8").strip() if continues else None,
        )
        run_id = built.run_id
    except MlflowException as error:
        raise PluginError(
            f"logger 'mlflow' cannot start its run at {uri}: {_line(error)}. "
            "Check tracking_uri, or choose another logger."
        ) from error
    # Only the first rank has a run.
    if run_id is not None and not continues:
        write_text(known, run_id)
    return built


def _line(error: MlflowException) -> str:
    return " ".join(str(error).split()).rstrip(".")
