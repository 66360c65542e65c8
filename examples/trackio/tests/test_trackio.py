"""The checks of the kit, and what a training run leaves in Trackio's database."""

import json
import sqlite3

import pytest
from trackio import sqlite_storage

from midigpt_core.contracts import LoggerContext
from midigpt_core.testing import parametrize_with_checks
from midigpt_plugin_trackio.logger import build
from midigpt_plugin_trackio.options import Options


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Trackio keeps its databases in the home folder otherwise."""
    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", tmp_path)
    return tmp_path


@parametrize_with_checks("trackio")
def test_trackio(check):
    check()


def test_a_continued_run_goes_on_in_its_trackio_run(folder, capsys):
    for step, continues in ((1, False), (2, True)):
        logger = build(Options(), LoggerContext(run_dir=folder, run_name="first", continues=continues))
        logger.log_hyperparams({"seed": 1})
        logger.log_metrics({"train_loss": 3.0 - step, "music/groove": 0.5}, step=step)
        logger.finalize("success")
    assert capsys.readouterr().out == ""
    with sqlite3.connect(folder / "midigpt.db") as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
    assert [(name, step) for name, step, _ in rows] == [("first", 1), ("first", 2)]
    assert json.loads(rows[0][2]) == {"train_loss": 2.0, "music/groove": 0.5}
