"""``midigpt config``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from midigpt_core.cli.main import main
from midigpt_core.config import TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_show_tells_where_each_value_came_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.toml"
    file.write_text('batch_size = 4\nmask = "structured"\n')
    assert main(["config", "show", str(file), "--set", "mask.max_lookahead=8", "--set", "seed=3"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["batch_size"].split() == ["batch_size", "4", str(file)]
    assert lines["seed"].split() == ["seed", "3", "--set"]
    assert lines["n_embd"].split() == ["n_embd", "512", "default"]
    assert lines["mask"].endswith(f"{file}; max_lookahead: --set")


def test_show_json_is_every_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--set", "seed=3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == TrainConfig(seed=3).to_dict()


def test_every_key_has_a_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--help-keys"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert len(rows) == len(TrainConfig().to_dict())
    assert all(len(row.split(None, 2)) == 3 for row in rows)


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps({"n_layer": 3, "per_device_batch_size": 4, "num_epochs": 3}))
    assert main(["config", "convert", str(old), str(new)]) == 0
    output = capsys.readouterr().out
    assert "per_device_batch_size is now batch_size" in output
    assert "num_epochs was left out: training ends after max_steps" in output
    assert TrainConfig.from_file(new) == TrainConfig(n_layer=3, batch_size=4)

    assert main(["config", "convert", str(old), str(new)]) == 2
    assert "new.json: exists already" in capsys.readouterr().err


def test_convert_writes_nothing_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps({"per_device_batch_size": "4"}))
    assert main(["config", "convert", str(old), str(new)]) == 2
    assert "batch_size: expected an integer" in capsys.readouterr().err
    assert not new.exists()
