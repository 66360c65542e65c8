"""Which checkpoint a run continues from, and whether it may."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from midigpt_core.errors import CheckpointError
from midigpt_core.training.checkpoints import AtomicCheckpointIO
from midigpt_core.training.resume import find_checkpoint, first_difference, require_same, step_files

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("step9.ckpt", "step10.ckpt", "step2.ckpt.bak", "model-step10.pt"):
        (tmp_path / name).touch()
    return tmp_path


def test_steps_are_sorted_as_numbers(folder: Path) -> None:
    assert list(step_files(folder)) == [9, 10]


def test_auto_takes_the_newest_or_starts_anew(folder: Path, tmp_path: Path) -> None:
    assert find_checkpoint("auto", folder) == folder / "step10.ckpt"
    assert find_checkpoint("auto", tmp_path / "none") is None


def test_a_new_run_does_not_mix_with_an_old_one(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"up to step 10\. Continue it with resume='auto'"):
        find_checkpoint(None, folder)


def test_a_path_must_be_there(folder: Path) -> None:
    assert find_checkpoint(folder / "step9.ckpt", folder) == folder / "step9.ckpt"
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        find_checkpoint(folder / "step11.ckpt", folder)


def test_the_first_difference_is_named() -> None:
    ours = {"a": 1, "b": {"c": [1, 2], "d": 3}}
    assert first_difference(ours, {"b": {"d": 3, "c": [1, 2]}, "a": 1}) is None
    assert first_difference(ours, {"a": 1, "b": {"c": [1, 5], "d": 4}}) == ("b.c[1]", 2, 5)
    with pytest.raises(CheckpointError, match=r"old\.ckpt: b\.d is 'nothing', but 3 in this run\. Go back\."):
        require_same(ours, {"a": 1, "b": {"c": [1, 2]}}, "old.ckpt", "Go back.")


def test_a_damaged_checkpoint_is_an_error_of_ours(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "step1.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weights": torch.arange(1000)}, path)
    whole = path.read_bytes()
    assert AtomicCheckpointIO().load_checkpoint(path)["weights"].sum() == 499500
    for damaged in (whole[: len(whole) // 2], b"", b"not a checkpoint"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged"):
            AtomicCheckpointIO().load_checkpoint(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step1.ckpt"]
