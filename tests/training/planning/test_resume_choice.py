"""Which checkpoint a run continues from, and whether it may."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from midigpt_core.errors import CheckpointError
from midigpt_core.training.keeping.checkpoints import AtomicCheckpointIO
from midigpt_core.training.planning.resume import differences, require_same, step_files
from support.training import checkpoint_for, run_state

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("step9.ckpt", "step10.ckpt", "step2.ckpt.bak", "model-step10.pt"):
        AtomicCheckpointIO().save_checkpoint(run_state(name=name), tmp_path / name)
    return tmp_path


def test_steps_are_sorted_as_numbers(folder: Path) -> None:
    assert list(step_files(folder)) == [9, 10]


def test_auto_takes_the_newest_or_starts_a_new_run(folder: Path, tmp_path: Path) -> None:
    assert checkpoint_for("auto", folder) == folder / "step10.ckpt"
    assert checkpoint_for("auto", tmp_path / "none") is None


def test_auto_passes_over_a_damaged_checkpoint(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    newest = folder / "step10.ckpt"
    damaged = bytearray(newest.read_bytes())
    damaged[damaged.index(b"step10.ckpt")] ^= 1
    newest.write_bytes(damaged)
    assert checkpoint_for("auto", folder) == folder / "step9.ckpt"
    assert [record.message for record in caplog.records] == [f"{newest} is damaged: trying an older checkpoint."]
    (folder / "step9.ckpt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        checkpoint_for("auto", folder)


def test_a_new_run_does_not_mix_with_an_old_one(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"up to step 10\. Continue it with resume='auto'"):
        checkpoint_for(None, folder)


def test_a_path_must_be_there(folder: Path) -> None:
    assert checkpoint_for(folder / "step9.ckpt", folder) == folder / "step9.ckpt"
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint_for(folder / "step11.ckpt", folder)


def test_the_first_difference_is_named() -> None:
    ours = {"a": 1, "b": {"c": [1, 2], "d": 3}}
    assert list(differences(ours, {"b": {"d": 3, "c": [1, 2]}, "a": 1})) == []
    assert list(differences(ours, {"a": 1, "b": {"c": [1, 5], "d": 4}})) == [("b.c[1]", 2, 5), ("b.d", 3, 4)]
    with pytest.raises(CheckpointError, match=r"old\.ckpt: b\.d is 'nothing', but 3 in this run\. Go back\."):
        require_same(ours, {"a": 1, "b": {"c": [1, 2]}}, "old.ckpt", "Go back.")


def test_a_damaged_checkpoint_is_an_error_of_ours(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "step1.ckpt"
    AtomicCheckpointIO().save_checkpoint(run_state(state_dict={"weights": torch.arange(1000)}), path)
    whole = path.read_bytes()
    assert AtomicCheckpointIO().load_checkpoint(path)["state_dict"]["weights"].sum() == 499500
    for damaged in (whole[: len(whole) // 2], b"", b"not a checkpoint"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged"):
            AtomicCheckpointIO().load_checkpoint(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step1.ckpt"]
