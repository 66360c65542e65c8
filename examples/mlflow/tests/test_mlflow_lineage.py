"""The checks of the kit, and what a training run leaves in MLflow's database."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from midigpt_core.contracts import LoggerContext
from midigpt_core.errors import PluginError
from midigpt_core.testing import music, parametrize_with_checks
from midigpt_plugin_mlflow_lineage.logger import FILES, build
from midigpt_plugin_mlflow_lineage.options import Options

SIZES = {
    "n-embd": 16, "n-layer": 1, "n-head": 1, "n-positions": 256, "max-seq-len": 256, "batch-size": 2, "max-steps": 2,
    "warmup-steps": 1, "log-steps": 1, "num-workers": 0, "num-bars-choices": "[4]", "precision": "fp32",
    "encoder-config": "yellow",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _address(monkeypatch):
    """MLflow writes the address there."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """A database without runs: MLflow takes seconds to make one."""
    file = tmp_path_factory.mktemp("tables") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def folder(tmp_path, tables):
    """The folder of a run."""
    shutil.copy(tables, tmp_path)
    return tmp_path


@parametrize_with_checks("mlflow-lineage")
def test_mlflow_lineage(check):
    check()


def runs(folder, filter_string=""):
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("midigpt")
    return client.search_runs([experiment.experiment_id], filter_string=filter_string)


def inputs(run):
    """(name, context, pieces) of each dataset of a run."""
    tags = [(item.dataset.name, {tag.key: tag.value for tag in item.tags}) for item in run.inputs.dataset_inputs]
    return sorted((name, of["mlflow.data.context"], of["pieces"]) for name, of in tags)


def test_a_run_has_its_data_and_its_files(tmp_path):
    for number, score in enumerate(music.scores()):
        score.to_midi(tmp_path / "songs" / f"{number}.mid")
    settings = {**SIZES, "eval-share": 0.5, "output-dir": tmp_path / "run"}
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    logger = ["--logger", "mlflow-lineage", "--set", "logger.dataset=two songs"]
    done = subprocess.run(
        [sys.executable, "-m", "midigpt", "train", "songs", *logger, *words],
        cwd=tmp_path,
        env={**os.environ, "MIDIGPT_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "not all data" not in done.stderr
    (run,) = runs(tmp_path / "run")
    assert inputs(run) == [("two songs", "training", "1"), ("two songs (evaluation)", "evaluation", "1")]
    assert run.info.status == "FINISHED"
    (stored,) = (tmp_path / "run" / "mlflow_artifacts").glob("*/artifacts/run")
    assert {path.name: path.read_bytes() for path in stored.iterdir()} == {
        name: (tmp_path / "run" / name).read_bytes() for name in FILES
    }
    fingerprint = json.loads((stored / "corpus.json").read_text(encoding="utf-8"))["train"]["fingerprint"]
    assert len(runs(tmp_path / "run", f"dataset.digest = '{fingerprint[:36]}'")) == 1
    assert not runs(tmp_path / "run", "dataset.digest = 'another'")


def corpus(fingerprint, pieces, **more):
    return {"fingerprint": fingerprint * 64, "rows": {"kept": 9}, "pieces": pieces, **more}


def test_a_continued_run_has_its_sets_once_and_new_data_in_addition(folder):
    sets = [corpus("a", 3, name="bach"), corpus("b", 4, name="blues", data_sets=["hf://datasets/us/blues@1"])]
    for step, train_sets in ((1, sets), (2, sets), (3, [*sets, corpus("c", 5, name="choro")])):
        text = json.dumps({"train": corpus("d", 12), "train_sets": train_sets, "eval": None})
        (folder / "corpus.json").write_text(text, encoding="utf-8")
        logger = build(Options(), LoggerContext(run_dir=folder, run_name="first", continues=step > 1))
        logger.log_metrics({"train_loss": 1.0}, step=step)
        logger.finalize("success")
        (run,) = runs(folder)
        expected = [("bach", "training", "3"), ("blues", "training", "4"), ("choro", "training", "5")]
        assert inputs(run) == expected[: len(train_sets)]
    blues = {item.dataset.name: item.dataset for item in run.inputs.dataset_inputs}["blues"]
    assert json.loads(blues.source) == {"fingerprint": "b" * 64, "data_sets": ["hf://datasets/us/blues@1"]}
    assert json.loads(blues.profile) == {"kept": 9}


def test_data_and_files_that_cannot_be_logged_cost_a_warning(folder, monkeypatch, caplog):
    def fail(*arguments):
        raise ModuleNotFoundError("No module\nnamed 'boto3'.")

    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(MlflowClient, "log_artifact", fail)
    logger = build(Options(), LoggerContext(run_dir=folder, run_name="first"))
    for step in (1, 2):
        logger.log_metrics({"train_loss": 1.0}, step=step)
    logger.finalize("success")
    assert [message for message in caplog.messages if "mlflow-lineage" in message] == [
        "logger 'mlflow-lineage' logs metrics but not all data and files of the run: No module named 'boto3'"
    ]
    (run,) = runs(folder)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"train_loss": 1.0})


def test_a_lost_server_is_tried_once(folder, monkeypatch, caplog):
    tried = []

    def fail(*arguments, **settings):
        tried.append(arguments)
        raise MlflowException("connection refused")

    (folder / "config.json").write_text("{}")
    logger = build(Options(), LoggerContext(run_dir=folder, run_name="first"))
    for method in ("log_batch", "log_artifact", "log_inputs", "set_terminated"):
        monkeypatch.setattr(MlflowClient, method, fail)
    logger.log_metrics({"train_loss": 1.0}, step=1)
    logger.finalize("success")
    assert len(tried) == 1
    assert caplog.messages[-1] == "logger 'mlflow-lineage' stops at step 1, metrics.jsonl goes on: connection refused"


@pytest.mark.parametrize(("status", "stored"), [("success", 1), ("failed", 0)])
def test_a_run_without_metrics_has_its_files_but_not_those_of_an_earlier_run(folder, status, stored):
    (folder / "config.json").write_text("{}")
    build(Options(), LoggerContext(run_dir=folder, run_name="first")).finalize(status)
    assert len(list(folder.glob("mlflow_artifacts/*/artifacts/run/config.json"))) == stored


def test_an_address_that_cannot_be_used_names_this_logger(tmp_path):
    with pytest.raises(PluginError, match=r"^logger 'mlflow-lineage' cannot start its run at nowhere://x: .*tracking_"):
        build(Options(tracking_uri="nowhere://x"), LoggerContext(run_dir=tmp_path, run_name="x"))
