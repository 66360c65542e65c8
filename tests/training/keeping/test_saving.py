"""Checkpoints: whatever happens while one is saved, the previous or the new one can be continued from."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from attrs import evolve

from midigpt_core.checkpoint import load_checkpoint
from midigpt_core.files import WriteError
from midigpt_core.training.keeping.checkpoints import AtomicCheckpointIO
from midigpt_core.training.keeping.retention import CheckpointFolder
from midigpt_core.training.keeping.saving import Checkpoints
from midigpt_core.training.loop.losses import LossTally
from midigpt_core.training.planning.resume import step_files
from midigpt_core.training.reporting.metrics_file import MetricsFile
from midigpt_core.training.run import train
from support.training import checkpoint_for, evaluations, metrics, run_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from lightning.pytorch import Trainer

    from midigpt_core.config import TrainConfig
    from midigpt_core.training.reporting.steps import StepRecord
    from support.training import Configure

#: Where saving happens: at each line that runs there, the process can be killed.
WRITING = (
    "midigpt_core/files.py",
    "training/keeping/checkpoints.py",
    "training/keeping/retention.py",
    "training/keeping/saving.py",
    "training/planning/resume.py",
    "torch/serialization.py",
    "zipfile.py",
    "midigpt_bundles/pt.py",
)


class _Killer:
    """Counts the lines that run in :data:`WRITING`, and kills the process at the ``point``-th."""

    def __init__(self, point: int | None) -> None:
        self.lines = 0
        self._point = point

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "call":
            return self if frame.f_code.co_filename.endswith(WRITING) else None
        if event == "line":
            self.lines += 1
            if self.lines == self._point:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def in_a_child(work: Callable[[], int]) -> int:
    """The wait status of a forked process that does ``work`` and exits with what it returns."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def kill_saving(configure: Configure, shard: Path, points: int) -> None:
    """Kill the saving of step 4, which retires step 2, at so many points spread evenly over it."""
    original = Checkpoints._save
    found: list[int] = []
    littered = 0

    def save(self: Checkpoints, trainer: Trainer, step: int) -> None:
        nonlocal littered
        if step == 4:
            folder = self._folder.path
            before = folder.with_name("before")
            shutil.copytree(folder, before)
            for point in _spread(lambda: original(self, trainer, step), folder, before, points):
                littered += bool(list(folder.glob(".midigpt-tmp-*")))
                found.append(_check(self, folder, point))
                _restore(folder, before)
        original(self, trainer, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "_save", save)
        train(configure(max_steps=4, save_steps=2, keep_checkpoints=1), shard)
    assert len(found) == points
    # The points lie before, in and after what is written.
    assert set(found) == {2, 4}
    assert littered > points // 10


def _spread(save: Callable[[], None], folder: Path, before: Path, points: int) -> Iterator[int]:
    """Do ``save`` in a child that is killed, and yield the line at which it was; again and again."""
    told, tell = os.pipe()

    def traced(point: int | None) -> int:
        killer = _Killer(point)
        sys.settrace(killer)
        save()
        sys.settrace(None)
        os.write(tell, str(killer.lines).encode())
        return 0

    assert in_a_child(lambda: traced(None)) == 0
    lines = int(os.read(told, 100))
    assert lines > points
    _restore(folder, before)
    for number in range(points):
        point = 1 + number * lines // points
        assert os.WTERMSIG(in_a_child(lambda: traced(point))) == signal.SIGKILL  # noqa: B023
        yield point


def _restore(folder: Path, before: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(before, folder)


def _check(checkpoints: Checkpoints, folder: Path, point: int) -> int:
    """The step that the folder can be continued from, once it is seen to be so."""
    found = checkpoint_for("auto", folder)
    assert found is not None, point
    state = AtomicCheckpointIO().load_checkpoint(found)
    step = state["global_step"]
    assert found == folder / f"step{step}.ckpt"
    # What the next start does, at the step that it starts from.
    trainer: Any = SimpleNamespace(
        global_step=step, is_global_zero=True, strategy=SimpleNamespace(broadcast=lambda value: value)
    )
    checkpoints.on_train_start(trainer, trainer)
    assert sorted(path.name for path in folder.iterdir()) == [f"model-step{step}.pt", f"step{step}.ckpt"], point
    bundle = load_checkpoint(folder / f"model-step{step}.pt").state_dict
    assert all(torch.equal(tensor, state["state_dict"][f"model.{name}"]) for name, tensor in bundle.items()), point
    return int(step)


def test_saving_can_be_killed_anywhere(configure: Configure, shard: Path) -> None:
    kill_saving(configure, shard, 20)


@pytest.mark.slow
def test_saving_can_be_killed_anywhere_at_200_points(configure: Configure, shard: Path) -> None:
    kill_saving(configure, shard, 200)


def test_temporary_files_do_not_leave_the_runs_file_system(
    configure: Configure, shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename from $TMPDIR would be a copy, and not atomic, where that is another file system."""
    elsewhere = next(path for path in (Path("/dev/shm"), Path("/run"), Path("/sys")) if _differs(path, tmp_path))
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setattr("tempfile.tempdir", None)
    config = configure(max_steps=2, save_steps=2)
    written: list[Path] = []
    original = os.replace
    monkeypatch.setattr("os.replace", lambda source, target: (written.append(Path(source)), original(source, target)))
    result = train(config, shard)
    assert checkpoint_for("auto", result.run_dir / "checkpoints") is not None
    assert any(path.is_relative_to(result.run_dir / "checkpoints") for path in written)
    assert not any(path.is_relative_to(elsewhere) for path in written)


def _differs(path: Path, other: Path) -> bool:
    return path.is_dir() and path.stat().st_dev != other.stat().st_dev


def test_the_newest_and_the_best_are_kept(configure: Configure, shard: Path) -> None:
    config = configure(max_steps=10, save_steps=1, eval_steps=1, keep_checkpoints=2)
    result = train(config, shard, shard)
    losses = {line["step"]: line["eval_loss"] for line in evaluations(result.run_dir)}
    best = min(losses, key=losses.__getitem__)
    assert result.best_bundle == result.run_dir / "checkpoints" / f"model-step{best}.pt"
    assert list(step_files(result.run_dir / "checkpoints")) == sorted({best, 9, 10})
    assert load_checkpoint(result.best_bundle).provenance["metrics"]["eval_loss"] == losses[best]


def test_an_evaluation_that_is_no_number_is_never_the_best(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where it comes first, nor after the run was continued."""
    original = LossTally.report
    spoilt = [float("nan"), float("inf")]
    monkeypatch.setattr(
        LossTally, "report", lambda self: evolve(original(self), loss=spoilt.pop(0)) if spoilt else original(self)
    )
    config = configure(max_steps=2, save_steps=1, eval_steps=1, keep_checkpoints=1)
    first = train(config, shard, shard)
    assert first.best_bundle is None
    assert list(step_files(first.run_dir / "checkpoints")) == [2]
    config.max_steps = 4
    second = train(config, shard, shard, resume="auto")
    losses = {line["step"]: line["eval_loss"] for line in evaluations(second.run_dir)}
    assert (losses[1], losses[2]) == (None, None)
    best = min((3, 4), key=losses.__getitem__)
    assert second.best_bundle == second.run_dir / "checkpoints" / f"model-step{best}.pt"


def test_an_old_best_stays(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2, bundle_suffix=".pt")
    losses = {1: float("nan"), 2: 1.0, 3: 2.0, 4: 1.0, 5: 9.0, 6: 8.0, 7: float("nan")}
    for step in range(1, 8):
        AtomicCheckpointIO().save_checkpoint(run_state(global_step=step), folder.checkpoint(step))
        folder.bundle(step).touch()
        folder.retire({past: loss for past, loss in losses.items() if past <= step})
    assert list(step_files(tmp_path)) == [2, 6, 7]
    assert {path.name for path in tmp_path.glob("*.pt")} == {"model-step2.pt", "model-step6.pt", "model-step7.pt"}


def test_nothing_is_removed_before_the_newest_reads_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = CheckpointFolder(tmp_path, keep=1, bundle_suffix=".pt")
    for step in (1, 2):
        AtomicCheckpointIO().save_checkpoint(
            run_state(state_dict={"weights": torch.arange(100)}), folder.checkpoint(step)
        )
    content = bytearray(folder.checkpoint(2).read_bytes())
    content[content.index(bytes(torch.arange(100).numpy())) + 8] ^= 1
    folder.checkpoint(2).write_bytes(content)
    folder.retire({})
    assert list(step_files(tmp_path)) == [1, 2]
    assert "step2.ckpt cannot be read back as it was written" in caplog.text


def test_the_missing_bundle_of_a_checkpoint_is_made_up_for(configure: Configure, shard: Path) -> None:
    config = configure(max_steps=4, save_steps=2)
    bundle = train(config, shard).run_dir / "checkpoints" / "model-step4.pt"
    expected = load_checkpoint(bundle).state_dict
    bundle.unlink()
    config.max_steps = 5
    train(config, shard, resume="auto")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load_checkpoint(bundle).state_dict.items())


# --- a disk that is full ----------------------------------------------------------------------------------------------


def _small_file_system(folder: Path, size: str) -> None:
    """A file system of ``size`` over ``folder``, for this process alone. Raises OSError where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(0x10000000 | 0x00020000) != 0:  # CLONE_NEWUSER | CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    for name, content in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path(f"/proc/self/{name}").write_text(content, encoding="ascii")
    if libc.mount(b"midigpt", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode()) != 0:
        raise OSError(ctypes.get_errno(), "mount")


def _fails_in_words(config: TrainConfig, shard: Path, *words: str) -> int:
    """0 if a run ends with a WriteError of these words, with the checkpoint of step 2 whole and nothing else left."""
    folder = Path(config.output_dir) / "checkpoints"
    try:
        train(config, shard)
    except WriteError as error:
        said = str(error)
    else:
        return 2
    assert all(part in said for part in words), said
    assert "\n" not in said
    assert {path.name for path in folder.iterdir()} == {"step2.ckpt", "model-step2.pt"}
    found = checkpoint_for("auto", folder)
    assert found is not None
    assert AtomicCheckpointIO().load_checkpoint(found)["global_step"] == 2
    return 0


def test_a_full_disk_ends_the_run_in_a_line_with_the_last_checkpoint_whole(configure: Configure, shard: Path) -> None:
    config = configure(max_steps=4, save_steps=2)
    Path(config.output_dir).mkdir()
    size = _saved_bytes(configure("measured", max_steps=2, save_steps=2), shard)

    def run() -> int:
        try:
            _small_file_system(Path(config.output_dir), f"{size * 3 // 2 >> 10}k")
        except OSError:
            return 77
        return _fails_in_words(config, shard, "the disk is full. Free some space")

    code = os.waitstatus_to_exitcode(in_a_child(run))
    if code == 77:
        pytest.skip("this machine lets no test mount a file system; the next test stands in")
    assert code == 0


def test_a_file_that_cannot_grow_ends_the_run_in_a_line_with_the_last_checkpoint_whole(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(max_steps=4, save_steps=2)
    original = Checkpoints._save

    def save(self: Checkpoints, trainer: Trainer, step: int) -> None:
        if step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, resource.RLIM_INFINITY))
        original(self, trainer, step)

    monkeypatch.setattr(Checkpoints, "_save", save)
    reason = os.strerror(errno.EFBIG)
    assert in_a_child(lambda: _fails_in_words(config, shard, f"step4.ckpt: cannot be written ({reason})")) == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_disk_that_fills_between_saves_is_said_as_elsewhere_with_the_last_checkpoint(
    configure: Configure, shard: Path, number: int
) -> None:
    """The file with the metrics is what grows in between."""
    config = configure(max_steps=4, save_steps=2)
    last = Path(config.output_dir) / "checkpoints" / "step2.ckpt"
    words = (
        "the disk is full. Free some space" if number == errno.ENOSPC else f"cannot be written ({os.strerror(number)})"
    )
    original = MetricsFile.step

    def step(self: MetricsFile, record: StepRecord) -> None:
        if record.step == 3 and number == errno.EFBIG:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._path.stat().st_size + 9, resource.RLIM_INFINITY))
        elif record.step == 3:
            # A device that is always full stands in for the file.
            self._stream = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115
        original(self, record)

    def run() -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MetricsFile, "step", step)
            return _fails_in_words(config, shard, f"metrics.jsonl: {words}", f"The last checkpoint is {last}.")

    assert in_a_child(run) == 0
    assert train(config, shard, resume="auto").steps == 4
    assert [line["step"] for line in metrics(Path(config.output_dir))] == [1, 2, 3, 4]


def _saved_bytes(config: TrainConfig, shard: Path) -> int:
    folder = train(config, shard).run_dir / "checkpoints"
    return sum(path.stat().st_size for path in folder.iterdir())
