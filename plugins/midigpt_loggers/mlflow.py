"""MLflow: a tracking server, or a database in the run's folder."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from lightning.pytorch.loggers import MLFlowLogger

from midigpt_core.errors import PluginError, readable_name
from midigpt_core.files import write_text
from midigpt_core.terminal import logger
from midigpt_loggers.requirements import require, require_utf8

require("mlflow", "mlflow")
require("sqlalchemy", "mlflow")

import sqlalchemy  # noqa: E402 (an extra: the lines above raise if it is missing)
from mlflow.exceptions import MlflowException  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

    from midigpt_core.contracts import LoggerContext
    from midigpt_loggers.options import MlflowOptions

#: Read once: MLflow puts the address of each logger into this variable, and the next run may have another one.
_ADDRESS = os.environ.get("MLFLOW_TRACKING_URI", "")
#: The file in the run's folder that names its MLflow run.
RUN_ID = "mlflow_run_id.txt"
#: MLflow's own defaults are 7 retries of 120 seconds: training would wait for a lost server for minutes.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # MLflow prints addresses to stdout when a run ends.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
#: What MLflow raises when a server or a database fails: requests' errors are OSErrors.
_FAILURES = (MlflowException, SQLAlchemyError, OSError)

_AnyLogger = TypeVar("_AnyLogger", bound="MlflowLogger")

log = logger(__name__)


class MlflowLogger(MLFlowLogger):
    """Lightning's logger for MLflow, which also takes samples, and whose failures do not end a run.

    Build one with :func:`start`; a plugin that logs more to MLflow derives a class of its own.
    """

    #: The name of the component, for messages.
    component: ClassVar[str] = "mlflow"
    #: Whether a call to the server or the database failed. Nothing is logged from then on.
    lost = False

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        if self.lost:
            return
        try:
            super().log_hyperparams(params)
        except _FAILURES as error:
            self._lose(error, None)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self.lost:
            return
        try:
            super().log_metrics(metrics, step)
        except _FAILURES as error:
            self._lose(error, step)

    def finalize(self, status: str = "success") -> None:
        """Mark the MLflow run as ended. A failure is only a warning: the trained model is written after this call."""
        if self.lost:
            return
        try:
            super().finalize(status)
        except _FAILURES as error:
            self._lose(error, None)

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

    def _lose(self, error: Exception, step: int | None) -> None:
        self.lost = True
        where = "" if step is None else f" at step {step}"
        log.warning("logger %r stops%s, metrics.jsonl goes on: %s", self.component, where, _line(error))


def build(options: MlflowOptions, context: LoggerContext) -> MlflowLogger:
    """Build a logger as :func:`start` does."""
    return start(MlflowLogger, options, context)


def start(kind: type[_AnyLogger], options: MlflowOptions, context: LoggerContext) -> _AnyLogger:
    """Build a ``kind`` of a new MLflow run, or of the one that the run's folder names if the training run is continued.

    Sets these environment variables unless they are set: ``MLFLOW_HTTP_REQUEST_MAX_RETRIES`` to 2 and
    ``MLFLOW_HTTP_REQUEST_TIMEOUT`` to 10 seconds, so that training waits for a lost server for seconds, not minutes;
    ``MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT`` to true.

    Raises :class:`PluginError` if the server or the database cannot be used.
    """
    require_utf8(context.run_dir, kind.component)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    uri = options.tracking_uri or _ADDRESS or _default_address(context.run_dir, kind.component)
    known = context.run_dir / RUN_ID
    continues = context.continues and known.is_file()
    try:
        if re.split(r"[+:]", uri, maxsplit=1)[0] in _DATABASES:
            _try_database(uri)
        built = kind(
            experiment_name=options.experiment,
            run_name=context.run_name,
            tracking_uri=uri,
            tags=dict(options.tags),
            artifact_location=_artifact_location(uri),
            run_id=known.read_text(encoding="utf-8").strip() if continues else None,
        )
        run_id = built.run_id
    except (*_FAILURES, ImportError, ValueError) as error:  # no driver, a port that is not a number
        cure = _cure(error, options.experiment, known if continues else None)
        raise PluginError(
            f"logger {kind.component!r} cannot start its run at {_without_password(uri)}: "
            f"{_without_password(_line(error))}. {cure}"
        ) from error
    # Only the first rank has a run.
    if run_id is not None and not continues:
        write_text(known, run_id)
    return built


def _default_address(run_dir: Path, component: str) -> str:
    folder = run_dir.resolve()
    # In an address a question mark starts options, and a percent sign an escape, which only SQLAlchemy 2.1 decodes.
    if set("?%") & set(str(folder)):
        raise PluginError(
            f"{readable_name(folder)}: logger {component!r} cannot have its database in a folder with '?' or '%' in "
            "its path. Choose another output_dir, or set tracking_uri."
        )
    return f"sqlite:///{folder}/mlflow.db"


def _try_database(uri: str) -> None:
    """Read the names of the tables: MLflow would repeat a failing connection for 100 seconds."""
    file = _database_file(uri)
    engine = sqlalchemy.create_engine(uri)
    try:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def _artifact_location(uri: str) -> str | None:
    """The folder for artifacts next to the file of an SQLite database. None: the server's choice, or MLflow's."""
    file = _database_file(uri) if uri.startswith("sqlite") else None
    # For a database MLflow would take the current folder.
    return None if file is None else (file.parent / "mlflow_artifacts").as_uri()


def _database_file(uri: str) -> Path | None:
    """The absolute path of an SQLite database; None if ``uri`` is another database, or one in memory."""
    address = sqlalchemy.make_url(uri)
    name = address.database
    if address.get_backend_name() != "sqlite" or not name or name.startswith((":memory:", "file:")):
        return None
    return Path(name).resolve()


def _cure(error: Exception, experiment: str, known: Path | None) -> str:
    code = error.error_code if isinstance(error, MlflowException) else ""
    if known is not None and code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
        return (
            f"{readable_name(known)} names the run to continue: set tracking_uri to the place of that run, or delete "
            "the file to start a new MLflow run."
        )
    # Lightning creates an experiment that it does not find among those that are not deleted.
    if code == "RESOURCE_ALREADY_EXISTS":
        return f"If the experiment {experiment!r} was deleted, restore it or choose another 'experiment'."
    return "Check tracking_uri, or choose another logger."


def _without_password(text: str) -> str:
    return re.sub(r"://[^/@\s]*@", "://***@", text)


def _line(error: Exception) -> str:
    # SQLAlchemy appends the statement and a link to its documentation.
    reason = str(error).partition("\n[SQL:")[0].partition("\n(Background on this error")[0]
    return " ".join(reason.split()).rstrip(".")
