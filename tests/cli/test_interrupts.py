"""Ctrl-C in commands that take long: the first is answered and obeyed, the second ends the process within a second."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from midigpt_core.cli.main import main
from midigpt_core.corpus import build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess
    from types import ModuleType

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("interrupts")
    files = [file.read_bytes() for file in sorted(MIDI.glob("*.mid"))]
    pq.write_table(pa.table({"music": pa.array(files, pa.binary())}), folder / "shard.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIDIGPT_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture
def preprocess(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    return ["preprocess", "--parquet", str(folder / "shard.parquet"), "--encoder-config", "yellow"]


def started(arguments: list[str], module: ModuleType, name: str, mark: Path, seconds: float) -> BaseProcess:
    """The command in a process group of its own. ``module.name`` makes the file ``mark``, and lasts so many seconds in
    native code before it does what it does."""

    def command() -> None:
        os.setpgid(0, 0)
        original: Callable[..., Any] = getattr(module, name)

        def lasting(*args: Any, **more: Any) -> Any:
            mark.touch()
            hashlib.pbkdf2_hmac("sha256", b"", b"", max(1, int(seconds * 4e6)))
            return original(*args, **more)

        setattr(module, name, lasting)
        code = main(arguments)
        sys.stdout.flush()
        os._exit(code)

    process = multiprocessing.get_context("fork").Process(target=command)
    process.start()
    deadline = time.monotonic() + 60
    while not mark.exists():
        assert process.is_alive(), "the command ended before it came there"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                found += [int(child), *descendants(int(child))]
    return found


def ctrl_c(process: BaseProcess) -> None:
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGINT)


def ends_with_the_second(process: BaseProcess, capfd: pytest.CaptureFixture[str]) -> None:
    """Within a second, and what it has started soon after; the first is answered within two."""
    assert process.pid is not None
    ctrl_c(process)
    process.join(2)
    assert capfd.readouterr().err.splitlines()[-1] == "Stopping. Press Ctrl-C again to stop now."
    assert process.is_alive(), "the first waits for what is under way"
    left = descendants(process.pid)
    second = time.monotonic()
    ctrl_c(process)
    process.join(10)
    assert time.monotonic() - second < 1
    assert process.exitcode == -signal.SIGINT
    while any(Path(f"/proc/{pid}").exists() for pid in left):
        assert time.monotonic() - second < 5, "a process that the command had started outlives it"
        time.sleep(0.02)


def test_ctrl_c_ends_preprocessing_and_the_next_one_is_whole(
    preprocess: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    process = started(preprocess, build, "to_pieces", tmp_path / "mark", 0.1)
    ctrl_c(process)
    process.join(20)
    assert process.exitcode == 128 + signal.SIGINT
    said = capfd.readouterr().err
    assert said.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in said
    assert not list((tmp_path / "cache").rglob(".midigpt-tmp-*"))
    assert main(preprocess) == 0
    assert f"{len(list(MIDI.glob('*.mid')))}\n" in capfd.readouterr().out


def test_the_second_ctrl_c_ends_preprocessing_at_once(
    preprocess: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ends_with_the_second(started(preprocess, build, "to_pieces", tmp_path / "mark", 60), capfd)
