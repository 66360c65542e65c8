"""The checks of the kit, and what a training run leaves in MLflow's database."""

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from midigpt_core.contracts import LoggerContext
from midigpt_core.errors import PluginError
from midigpt_core.testing import parametrize_with_checks
from midigpt_plugin_mlflow.logger import build
from midigpt_plugin_mlflow.options import Options


@parametrize_with_checks("mlflow")
def test_mlflow(check):
    check()


def test_a_continued_run_goes_on_in_its_mlflow_run_and_a_lost_server_ends_no_run(tmp_path, monkeypatch):
    for step, continues in ((1, False), (2, True)):
        logger = build(Options(), LoggerContext(run_dir=tmp_path, run_name="first", continues=continues))
        logger.log_metrics({"train_loss": 3.0 - step}, step=step)
        logger.finalize("success")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("midigpt").experiment_id])
    assert run.info.run_name == "first"
    assert [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "train_loss")] == [
        (1, 2.0),
        (2, 1.0),
    ]

    def fail(*arguments, **settings):
        raise MlflowException("connection refused")

    monkeypatch.setattr(MlflowClient, "log_batch", fail)
    logger.log_metrics({"train_loss": 0.5}, step=3)
    logger.finalize("success")
    assert logger.lost


def test_an_address_that_cannot_be_used_is_an_error(tmp_path):
    with pytest.raises(PluginError, match=r"logger 'mlflow' cannot start its run at nowhere://x: .*Check tracking_uri"):
        build(Options(tracking_uri="nowhere://x"), LoggerContext(run_dir=tmp_path, run_name="x"))
