"""The MLflow logger of midigpt-core, which also logs the run's data and the files that describe the run."""

import json
import logging

from lightning.pytorch.utilities import rank_zero_only
from midigpt_loggers.mlflow import MlflowLogger, start
from mlflow.entities import Dataset, DatasetInput, InputTag

#: The files in the run's folder with which it can be repeated.
FILES = ("config.json", "settings.json", "encoder.json", "corpus.json", "provenance.json", "environment.json")
#: MLflow refuses longer digests; the source of a dataset has the whole fingerprint.
DIGEST_LENGTH = 36

log = logging.getLogger(__name__)


class LineageLogger(MlflowLogger):
    """Logs what the logger for MLflow does, then once the data and the files of the run."""

    component = "mlflow-lineage"
    is_described = False

    def log_metrics(self, metrics, step=None):
        super().log_metrics(metrics, step)
        # The run writes the files after the logger is built, and before its first metrics.
        self.describe()

    def finalize(self, status="success"):
        super().finalize(status)
        # A run with fewer steps than `log_steps` has no metrics. After a failed start the files can be older.
        if status == "success":
            self.describe()

    @rank_zero_only
    def describe(self):
        """Log the data and the files, once."""
        if self.lost or self.is_described:
            return
        self.is_described = True
        try:
            for name in FILES:
                if (path := self.run_dir / name).is_file():
                    self.experiment.log_artifact(self.run_id, str(path), "run")
            if (path := self.run_dir / "corpus.json").is_file():
                corpus = json.loads(path.read_text(encoding="utf-8"))
                self.experiment.log_inputs(self.run_id, list(datasets(corpus, self.dataset)))
        # Each store of artifacts has a library, whose exceptions have no base in common. None may end the run.
        except Exception as error:  # noqa: BLE001
            reason = " ".join(str(error).split()).rstrip(".")
            log.warning("logger %r logs metrics but not all data and files of the run: %s", self.component, reason)


def datasets(corpus, name):
    """The inputs of a run, from its ``corpus.json``."""
    for one in corpus["train_sets"] or [{"name": name, **corpus["train"]}]:
        yield dataset(one, one["name"], "training")
    if corpus["eval"]:
        yield dataset(corpus["eval"], f"{name} (evaluation)", "evaluation")


def dataset(pieces, name, context):
    """One input. Runs share a dataset of equal name and digest, so what the run's settings change is a tag."""
    source = {key: pieces[key] for key in ("fingerprint", "data_sets") if key in pieces}
    return DatasetInput(
        Dataset(
            name=name,
            digest=pieces["fingerprint"][:DIGEST_LENGTH],
            source_type="midigpt",
            source=json.dumps(source),
            profile=json.dumps(pieces["rows"]),
        ),
        [InputTag("mlflow.data.context", context), InputTag("pieces", str(pieces["pieces"]))],
    )


def build(options, context):
    logger = start(LineageLogger, options, context)
    logger.run_dir, logger.dataset = context.run_dir, options.dataset
    return logger
