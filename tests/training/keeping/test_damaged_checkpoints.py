"""What is whole to a run is whole to the reader that resuming uses, and comes back as it was written."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from midigpt_core.errors import CheckpointError
from midigpt_core.training.keeping.checkpoints import AtomicCheckpointIO, first_whole, is_whole
from midigpt_core.training.keeping.retention import CheckpointFolder
from midigpt_core.training.run import train
from support.training import curve, run_state

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.training import Configure

WEIGHTS = torch.arange(40, dtype=torch.float32)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Two checkpoints of a run; the newer."""
    for step in (1, 2):
        state = run_state(global_step=step, state_dict={"weights": WEIGHTS}, callbacks={"Checkpoints": {"losses": {}}})
        AtomicCheckpointIO().save_checkpoint(state, tmp_path / f"step{step}.ckpt")
    return tmp_path / "step2.ckpt"


def flips_survived(newest: Path, flips: Iterable[tuple[int, int]]) -> int:
    """How many of the flipped bits (byte, bit), one at a time, leave ``newest`` what is continued from.

    After any other one the run goes on from the checkpoint before, and that one stays.
    """
    older = newest.with_name("step1.ckpt")
    folder = CheckpointFolder(newest.parent, keep=1, bundle_suffix=".pt")
    whole = newest.read_bytes()
    survived = 0
    for byte, bit in flips:
        content = bytearray(whole)
        content[byte] ^= 1 << bit
        newest.write_bytes(content)
        if first_whole((newest, older)) == newest:
            survived += 1
            state = AtomicCheckpointIO().load_checkpoint(newest)
            assert state["global_step"] == 2, (byte, bit)
            assert torch.equal(state["state_dict"]["weights"], WEIGHTS), (byte, bit)
        else:
            folder.retire({})
            assert older.exists(), (byte, bit)
    newest.write_bytes(whole)
    return survived


def directory_of(path: Path) -> range:
    """The bytes of a zip's directory and of all that follows it."""
    with zipfile.ZipFile(path) as archive:
        return range(archive.start_dir, path.stat().st_size)


def test_a_flipped_bit_in_the_directory_is_no_traceback_and_no_defeat(saved: Path) -> None:
    places = directory_of(saved)
    drawn = np.random.default_rng(24).choice(len(places) * 8, 200, replace=False)
    flips = [(places[0] + int(place) // 8, int(place) % 8) for place in drawn]
    # Times, attributes and the like are nothing that a checkpoint depends on.
    assert 0 < flips_survived(saved, flips) < 200


def test_a_flipped_bit_anywhere_is_no_traceback_and_no_defeat(saved: Path) -> None:
    drawn = np.random.default_rng(25).choice(saved.stat().st_size * 8, 200, replace=False)
    assert flips_survived(saved, [(int(place) // 8, int(place) % 8) for place in drawn]) < 200


@pytest.mark.slow
def test_every_flipped_bit_is_no_traceback_and_no_defeat(saved: Path) -> None:
    flips = [(byte, bit) for byte in range(saved.stat().st_size) for bit in range(8)]
    assert 0 < flips_survived(saved, flips) < len(flips)


@pytest.mark.parametrize("change", ["version", "encrypted", "name"])
def test_what_zipfile_gives_up_in_its_own_way_is_damage(
    saved: Path, change: str, configure: Configure, shard: Path
) -> None:
    content = bytearray(saved.read_bytes())
    entry = directory_of(saved)[0]
    if change == "version":
        content[entry + 6] = 99
    if change == "encrypted":
        content[entry + 8] |= 1
    if change == "name":
        content[entry + 8 : entry + 10] = (0x800).to_bytes(2, "little")
        content[entry + 46] = 0xFF
    saved.write_bytes(content)
    older = saved.with_name("step1.ckpt")
    assert first_whole((saved, older)) == older
    with pytest.raises(CheckpointError, match=r"step2\.ckpt: is damaged or not a checkpoint\. Resume from another"):
        train(configure(), shard, resume=saved)


def test_a_pipe_or_device_is_no_checkpoint(saved: Path, configure: Configure, shard: Path) -> None:
    older, other = saved.with_name("step1.ckpt"), saved.with_name("other.ckpt")
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        for path in (saved, other):
            path.unlink(missing_ok=True)
            make(path)
        assert first_whole((saved, older)) == older
        with pytest.raises(CheckpointError, match=r"other\.ckpt: is not a regular file\. Give a step"):
            train(configure(), shard, resume=other)


def test_a_compressed_archive_is_no_checkpoint(saved: Path) -> None:
    """torch writes none, and a small one could take minutes to be tested."""
    with zipfile.ZipFile(saved) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    assert not is_whole(saved)


@pytest.mark.parametrize("value", ["shared", "digits"])
def test_a_state_that_never_ends_to_be_shown_is_refused(
    value: str, configure: Configure, shard: Path, tmp_path: Path
) -> None:
    model: object = 10**100
    if value == "shared":
        model = ["lol"] * 10
        for _ in range(12):
            model = [model] * 10
    AtomicCheckpointIO().save_checkpoint(run_state(midigpt={"model": model}), tmp_path / "step1.ckpt")
    with pytest.raises(CheckpointError, match=r"step1\.ckpt: midigpt (has too many values|holds a number of 333 bits)"):
        train(configure(), shard, resume=tmp_path / "step1.ckpt")


def other_torch_files() -> dict[str, bytes]:
    """What torch writes and is no state of a run."""

    def bytes_of(value: object, **how: Any) -> bytes:
        stream = io.BytesIO()
        torch.save(value, stream, **how)
        return stream.getvalue()

    scripted = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), scripted)
    foreign = run_state()
    del foreign["midigpt"]
    return {
        "weights": bytes_of({"weights": WEIGHTS}),
        "tensor": bytes_of(WEIGHTS),
        "module": bytes_of(torch.nn.Linear(2, 2)),
        "old format": bytes_of({"weights": WEIGHTS}, _use_new_zipfile_serialization=False),
        "TorchScript": scripted.getvalue(),
        "another program's": bytes_of(foreign),
        "pickle": pickle.dumps({"weights": [1, 2]}),
        "empty": b"",
    }


@pytest.mark.filterwarnings("ignore:.*TorchScript")
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_any_other_torch_file_is_refused_in_one_line(configure: Configure, shard: Path, tmp_path: Path) -> None:
    for kind, content in other_torch_files().items():
        path = tmp_path / "other.ckpt"
        path.write_bytes(content)
        with pytest.raises(
            CheckpointError, match=r"other\.ckpt: is (damaged or not a checkpoint|not a checkpoint of)"
        ) as caught:
            train(configure(), shard, resume=path)
        assert "\n" not in str(caught.value), kind
        assert not is_whole(path)
    assert not Path(configure().output_dir).exists()


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure(max_steps=4, save_steps=2)
    whole = curve(train(config, shard).run_dir)
    newest = Path(config.output_dir) / "checkpoints" / "step4.ckpt"
    content = bytearray(newest.read_bytes())
    # The size of the first entry, in the directory: Python's reader looks no further than the entry itself.
    content[directory_of(newest)[0] + 42] ^= 1
    newest.write_bytes(content)
    again = train(config, shard, resume="auto")
    assert (again.steps, again.steps_before) == (4, 2)
    assert curve(again.run_dir) == whole
    assert f"{newest} is damaged: trying an older checkpoint." in caplog.text


def test_an_altered_state_is_refused_in_one_line(configure: Configure, shard: Path) -> None:
    config = configure(max_steps=2, save_steps=1)
    train(config, shard)
    path = Path(config.output_dir) / "checkpoints" / "step1.ckpt"
    whole = torch.load(path, weights_only=True)
    weights = dict(whole["state_dict"])
    altered = {
        "its counters are not those of a run": {"loops": {}},
        "it has 0 optimizer_states, not one": {"optimizer_states": []},
        "it has 0 lr_schedulers, not one": {"lr_schedulers": []},
        r"its weights do not fit the model: Missing key\(s\)": {"state_dict": {}},
        "its weights do not fit the model: size mismatch": {"state_dict": {**weights, next(iter(weights)): WEIGHTS}},
    }
    for reason, content in altered.items():
        torch.save({**whole, **content}, path)
        with pytest.raises(CheckpointError, match=f"the checkpoint was altered: {reason}") as caught:
            train(config, shard, resume=path)
        assert "\n" not in str(caught.value)
