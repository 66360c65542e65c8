"""Each logger writes real files, and says which extra it lacks."""

from __future__ import annotations

import os
import socket
import sys
import time
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from midigpt_loggers import mlflow, none, tensorboard, wandb
from midigpt_loggers.options import MlflowOptions, TensorBoardOptions, WandbOptions
from midigpt_loggers.plugin import midigpt_loggers
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from midigpt_core.contracts import LoggerContext
from midigpt_core.errors import PluginError
from midigpt_core.score.piano_roll import save_piano_roll
from midigpt_core.testing import music

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_httpserver import HTTPServer


def context(folder: Path) -> LoggerContext:
    return LoggerContext(run_dir=folder, run_name="trial")


def test_the_plugin_lists_its_loggers() -> None:
    assert [spec.name for spec in midigpt_loggers()] == ["none", "tensorboard", "wandb", "mlflow"]


def test_none_is_no_logger(tmp_path: Path) -> None:
    assert none.build(None, context(tmp_path)) is None


def test_tensorboard_files_hold_what_was_logged(tmp_path: Path) -> None:
    logger = tensorboard.build(TensorBoardOptions(), context(tmp_path))
    logger.log_metrics({"loss": 2.5}, step=10)
    logger.log_metrics({"loss": 1.5}, step=20)
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(10, 2.5), (20, 1.5)]


def test_a_folder_whose_name_is_no_utf8_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    for build in (
        lambda: tensorboard.build(TensorBoardOptions(), context(folder)),
        lambda: wandb.build(WandbOptions(), context(folder)),
        lambda: mlflow.build(MlflowOptions(), context(folder)),
    ):
        with pytest.raises(PluginError, match=r"caf\\xe9: logger '\w+' needs a folder whose name is UTF-8\. Choose"):
            build()
    assert none.build(None, context(folder)) is None


def test_wandb_writes_offline_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the discard port: nothing listens
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    logger = wandb.build(WandbOptions(project="study", tags=("a",)), context(tmp_path))
    logger.log_metrics({"loss": 2.5}, step=10)
    midi, picture = (tmp_path / "samples" / "step10" / f"prompt1.{suffix}" for suffix in ("mid", "png"))
    music.scores()[0].to_midi(midi)
    save_piano_roll(picture, music.scores()[0])
    logger.log_sample("prompt1", midi, picture, step=10)
    music.write_tone(midi.with_suffix(".wav"))
    logger.log_sample_audio("prompt1", midi.with_suffix(".wav"), step=10)
    assert logger.experiment.name == "trial"
    assert logger.experiment.offline
    logger.finalize("success")
    (run,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    files = run.parent / "files"
    assert (files / "samples" / "step10" / "prompt1.mid").read_bytes() == midi.read_bytes()
    (image,) = (files / "media" / "images" / "samples").glob("prompt1*.png")
    assert image.read_bytes() == picture.read_bytes()
    (sound,) = (files / "media" / "audio" / "samples" / "prompt1").glob("audio*.wav")
    assert sound.read_bytes() == midi.with_suffix(".wav").read_bytes()
    # W&B's own process closes the file after `finish` has returned: later on a busy machine.
    deadline = time.monotonic() + 60
    while b"loss" not in run.read_bytes():
        assert time.monotonic() < deadline, f"{run.stat().st_size} bytes without the metric"
        time.sleep(0.1)


def test_wandb_asked_to_be_online_stays_so_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # as unreachable as from behind a proxy
    monkeypatch.setattr(wandb, "_is_in_netrc", lambda host: False)
    monkeypatch.setattr(wandb.wandb, "setup", lambda: SimpleNamespace(settings=settings))
    settings = SimpleNamespace(mode="online", base_url="http://127.0.0.1:9", api_key="0" * 40)
    assert wandb._resolve_mode("auto") == "online"
    settings.api_key = None
    with pytest.raises(PluginError, match=r"has no key, but mode is online"):
        wandb._resolve_mode("auto")
    with pytest.raises(PluginError, match="has no key"):
        wandb._resolve_mode("online")
    monkeypatch.delenv("WANDB_MODE")
    assert wandb._resolve_mode("auto") == "offline"


def test_wandb_behind_a_proxy_is_online(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SimpleNamespace(mode="online", base_url="https://no-such-server.invalid", api_key="0" * 40)
    monkeypatch.setattr(wandb.wandb, "setup", lambda: SimpleNamespace(settings=settings))
    for name in ("WANDB_MODE", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    assert wandb._resolve_mode("auto") == "offline"
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"127.0.0.1:{proxy.getsockname()[1]}"
        for spelled in (f"http://{address}", address):
            monkeypatch.setenv("https_proxy", spelled)
            assert wandb._resolve_mode("auto") == "online"
        monkeypatch.setenv("no_proxy", "no-such-server.invalid")
        assert wandb._resolve_mode("auto") == "offline"
        monkeypatch.delenv("no_proxy")
    assert wandb._resolve_mode("auto") == "offline", "the proxy is gone"
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:port")
    assert wandb._resolve_mode("auto") == "offline"


def test_a_wandb_run_that_cannot_start_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_API_KEY", "short")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    logger = wandb.build(WandbOptions(mode="online"), context(tmp_path))
    message = r"^logger 'wandb' cannot start its run \(WANDB_API_KEY invalid: .*\)\. Check the key, .*offline"
    with pytest.raises(PluginError, match=message) as caught:
        logger.log_metrics({"loss": 2.5}, step=1)
    assert "\n" not in str(caught.value)


def test_a_run_that_continues_is_the_same_wandb_run(tmp_path: Path) -> None:
    for name in ("offline-run-20260101_101010-aaaaaaaa", "run-20260102_101010-bbbbbbbb"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
    going_on = LoggerContext(run_dir=tmp_path, run_name="trial", continues=True)
    assert wandb._run_id(going_on) == "bbbbbbbb"
    assert wandb._run_id(context(tmp_path)) is None
    assert wandb._run_id(LoggerContext(run_dir=tmp_path / "none", run_name="trial", continues=True)) is None


def test_a_continued_run_goes_on_in_its_mlflow_run_and_a_lost_server_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # MLflow writes the address there.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    midi, picture, sound = (tmp_path / "samples" / "step1" / f"prompt1.{suffix}" for suffix in ("mid", "png", "wav"))
    music.scores()[0].to_midi(midi)
    save_piano_roll(picture, music.scores()[0])
    music.write_tone(sound)
    for step, continues in ((1, False), (2, True)):
        logger = mlflow.build(
            MlflowOptions(tags={"by": "us"}), LoggerContext(run_dir=tmp_path, run_name="first", continues=continues)
        )
        logger.log_metrics({"train_loss": 3.0 - step}, step=step)
        logger.log_sample("prompt1", midi, picture, step=step)
        logger.log_sample_audio("prompt1", sound, step=step)
        logger.finalize("success")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("midigpt").experiment_id])
    assert (run.info.run_name, run.data.tags["by"]) == ("first", "us")
    assert [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "train_loss")] == [
        (1, 2.0),
        (2, 1.0),
    ]
    (artifacts,) = (tmp_path / "mlflow_artifacts").glob("*/artifacts/samples/step2")
    assert {path.name: path.read_bytes() for path in artifacts.iterdir()} == {
        path.name: path.read_bytes() for path in (midi, picture, sound)
    }

    def fail(*arguments: object, **settings: object) -> None:
        raise MlflowException("connection\nrefused.")

    monkeypatch.setattr(MlflowClient, "log_artifact", fail)
    monkeypatch.setattr(MlflowClient, "log_batch", fail)
    logger.log_sample("prompt1", midi, picture, step=3)
    assert logger.lost
    logger.log_metrics({"train_loss": 0.5}, step=3)
    logger.finalize("success")
    assert caplog.messages[-1:] == ["logger 'mlflow' stops at step 3, metrics.jsonl goes on: connection refused"]


@pytest.fixture
def mlflow_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restores the variables that the logger and MLflow set."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    for name in mlflow._ENVIRONMENT:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("mlflow_environment")
def test_a_server_that_fails_at_the_end_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise MlflowException("connection refused.")

    for method in ("get_run", "set_terminated"):
        logger = mlflow.build(MlflowOptions(), context(tmp_path))
        logger.log_metrics({"loss": 2.5}, step=1)
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, method, fail)
            logger.finalize("success")
        assert caplog.messages[-1] == "logger 'mlflow' stops, metrics.jsonl goes on: connection refused"
        caplog.clear()


@pytest.mark.usefixtures("mlflow_environment")
def test_an_mlflow_server_that_does_not_answer_is_an_error_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    address = "http://us:secret@127.0.0.1:9"  # the discard port: nothing listens
    with pytest.raises(PluginError, match=r"cannot start its run at http://\*\*\*@127.*Check tracking_uri") as caught:
        mlflow.build(MlflowOptions(tracking_uri=address), context(tmp_path))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "3", "the user's value"


def test_an_mlflow_run_prints_nothing(
    tmp_path: Path, mlflow_environment: None, httpserver: HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    run = {"info": {"run_id": "abc", "experiment_id": "1", "run_name": "trial", "status": "RUNNING"}, "data": {}}
    experiment = {"experiment_id": "1", "name": "midigpt", "lifecycle_stage": "active"}
    rest = "/api/2.0/mlflow"
    httpserver.expect_request(f"{rest}/experiments/get-by-name").respond_with_json({"experiment": experiment})
    for path in ("create", "get", "update"):
        httpserver.expect_request(f"{rest}/runs/{path}").respond_with_json({"run": run, "run_info": run["info"]})
    logger = mlflow.build(MlflowOptions(tracking_uri=httpserver.url_for("").rstrip("/")), context(tmp_path))
    logger.finalize("success")
    assert not logger.lost
    assert httpserver.log[-1][0].path == f"{rest}/runs/update"
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("mlflow_environment")
def test_an_mlflow_address_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, but long enough to have a header of one" * 9)
    for address, reason in (
        ("nowhere://x", "nowhere"),
        (f"sqlite:///{tmp_path}/text.db", "file is not a database"),
        (f"sqlite:///{tmp_path}", "unable to open database file"),
        ("postgresql+no_driver://us:secret@127.0.0.1:9/runs", "postgresql.no_driver"),
        ("sqlite://x:y:z", "."),
    ):
        with pytest.raises(PluginError, match=rf"^logger 'mlflow' cannot start its run at .*{reason}.*tracking_") as e:
            mlflow.build(MlflowOptions(tracking_uri=address), context(tmp_path))
        assert "\n" not in str(e.value)
        assert "secret" not in str(e.value)


@pytest.mark.usefixtures("mlflow_environment")
def test_an_mlflow_database_is_in_the_run_folder_or_refused(tmp_path: Path) -> None:
    for name in ("wh?at", "per%20cent"):
        folder = tmp_path / name
        folder.mkdir()
        with pytest.raises(PluginError, match=r"cannot have its database in a folder with '\?' or '%'.*output_dir"):
            mlflow.build(MlflowOptions(), context(folder))
        assert not list(folder.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["per%20cent", "wh?at"]
    folder = tmp_path / "two words#1"
    folder.mkdir()
    mlflow.build(MlflowOptions(), context(folder)).finalize("success")
    assert (folder / "mlflow.db").is_file()


@pytest.mark.usefixtures("mlflow_environment")
def test_artifacts_of_a_shared_mlflow_database_are_next_to_it(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("c")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        address = f"sqlite:///{tmp_path}/shared/runs.db"
        logger = mlflow.build(MlflowOptions(tracking_uri=address), context(tmp_path / name))
        logger.log_sample("prompt1", file, file, step=1)
        logger.finalize("success")
        assert [path.name for path in (tmp_path / name).iterdir()] == [mlflow.RUN_ID]
    found = tmp_path.glob("shared/mlflow_artifacts/*/artifacts/samples/step1/notes.txt")
    assert len(list(found)) == 2


@pytest.mark.usefixtures("mlflow_environment")
def test_an_unknown_mlflow_run_and_a_deleted_experiment_name_the_cure(tmp_path: Path) -> None:
    known = tmp_path / mlflow.RUN_ID
    known.write_text("0" * 32)
    with pytest.raises(PluginError, match=r"mlflow_run_id\.txt names the run to continue: .* or delete the file"):
        mlflow.build(MlflowOptions(), LoggerContext(run_dir=tmp_path, run_name="trial", continues=True))
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    client.delete_experiment(client.create_experiment("midigpt"))
    with pytest.raises(PluginError, match="'midigpt' was deleted, restore it or choose another 'experiment'"):
        mlflow.build(MlflowOptions(), context(tmp_path))


def test_a_missing_mlflow_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delitem(sys.modules, "midigpt_loggers.mlflow")
    with pytest.raises(PluginError, match=r"pip install 'midigpt-core\[mlflow\]'"):
        import_module("midigpt_loggers.mlflow")


def test_a_missing_tensorboard_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(PluginError, match=r"pip install 'midigpt-core\[tensorboard\]'"):
        tensorboard.build(TensorBoardOptions(), context(tmp_path))


def test_a_missing_wandb_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "midigpt_loggers.wandb")
    with pytest.raises(PluginError, match=r"pip install 'midigpt-core\[wandb\]'"):
        import_module("midigpt_loggers.wandb")
