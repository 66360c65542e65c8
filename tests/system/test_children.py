"""Processes that end with their parent, by a signal, or without the C library."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from midigpt_core.system import liveness
from midigpt_core.system.capabilities import without

if TYPE_CHECKING:
    from pathlib import Path

_PARENT = """
import multiprocessing, os, subprocess, sys, time

CHILD = '''
import os, sys, time
from midigpt_core.system.processes import die_with_parent
die_with_parent(int(sys.argv[1]))
print(os.getpid(), flush=True)
time.sleep(60)
'''

def child(queue):
    from midigpt_core.system.processes import die_with_parent
    die_with_parent()
    queue.put(os.getpid())
    time.sleep(60)

if __name__ == "__main__":
    if sys.argv[1] == "Popen":
        subprocess.Popen([sys.executable, "-c", CHILD, str(os.getpid())])
    else:
        queue = multiprocessing.get_context(sys.argv[1]).SimpleQueue()
        process = multiprocessing.get_context(sys.argv[1]).Process(target=child, args=(queue,))
        process.start()
        print(queue.get(), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("names", [(), ("libc",)])
@pytest.mark.parametrize("how", ["Popen", "spawn", "fork"])
def test_a_child_ends_with_its_parent(names: tuple[str, ...], how: str, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    with without(*names), subprocess.Popen([sys.executable, script, how], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert liveness.is_alive(child)
        parent.kill()
    deadline = time.monotonic() + 20
    while liveness.is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("names", "code"), [((), -signal.SIGINT), (("libc",), 128 + signal.SIGINT)])
def test_a_process_ends_by_a_signal_from_any_thread(names: tuple[str, ...], code: int) -> None:
    script = (
        "import threading, time\nfrom midigpt_core.system.ending import end_by\n"
        f"threading.Thread(target=end_by, args=({int(signal.SIGINT)},)).start()\ntime.sleep(60)"
    )
    with without(*names):
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == code


def test_what_ends_a_process_loads_little() -> None:
    """It is loaded by the first Ctrl-C, while the user waits."""
    code = "import sys, midigpt_core.cli.main; before = set(sys.modules); "
    code += "import midigpt_core.system.ending; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    loaded = set(done.stdout.split())
    modules = {"midigpt_core.system.ending", "midigpt_core.system.c_library", "ctypes", "ctypes._endian", "_ctypes"}
    assert loaded - {"_struct", "struct"} == modules


def test_who_is_alive_and_who_is_stopped() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        os.kill(process.pid, signal.SIGSTOP)
        deadline = time.monotonic() + 20
        while not liveness.is_stopped(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with without("proc"):
            assert not liveness.is_stopped(process.pid)
            assert liveness.is_alive(process.pid)
        with without("signals"):
            assert liveness.is_alive(process.pid) is None
        process.kill()
    assert liveness.is_alive(process.pid) is False
