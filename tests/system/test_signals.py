"""Signals: names and numbers on any system, time-outs and ends with and without them."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from midigpt_core.corpus import status
from midigpt_core.system import signals
from midigpt_core.system.capabilities import without

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the numbers of Linux")

_TIME_OUT = """
import sys, time
from midigpt_core.system.signals import end_unless_done
for _ in range(3):
    with end_unless_done(20.0):
        pass
    with end_unless_done(10.0 if sys.argv[1] == "quick" else 0.2):
        if sys.argv[1] == "busy":
            sum(iter(int, 1))
        elif sys.argv[1] == "native":
            pow(7, 10**9)  # in native code that keeps the interpreter's lock
print("done")
"""


@linux
def test_the_table_is_linuxs() -> None:
    for number in range(1, 65):
        try:
            name: str | None = signal.Signals(number).name
        except ValueError:
            name = None
        assert signals.linux_name(number) == name
        assert signals.to_linux(number) == number
        expected = f"crashed_{name.lower()}" if name else f"crashed_signal_{number}"
        assert status.status_name(status.crashed(number)) == expected


def test_other_numbers_are_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS calls its signal 10 what Linux calls 7."""
    monkeypatch.setattr(signals, "name_of", {10: "SIGBUS", 29: "SIGINFO"}.__getitem__)
    assert signals.to_linux(10) == 7
    assert signals.to_linux(29) == 29
    assert signals.of_exit(-10) == 7


@pytest.mark.parametrize(
    ("code", "name"), [(0xC0000005, "SIGSEGV"), (0xC0000409, "SIGABRT"), (0xC000001D, "SIGILL"), (3, None), (0, None)]
)
def test_faults_of_windows_are_signals(code: int, name: str | None) -> None:
    number = signals.of_exit(code)
    assert (None if number is None else signals.linux_name(number)) == name


def test_which_signals_there_are() -> None:
    names = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP", "SIGBREAK")
    assert signals.present(*names) == (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
    with without("signals"):
        assert signals.present(*names) == (signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize("names", [(), ("signals",)])
@pytest.mark.parametrize("how", ["quick", "busy", "native"])
def test_a_process_ends_when_its_time_is_up(names: tuple[str, ...], how: str) -> None:
    with without(*names):
        done = subprocess.run([sys.executable, "-c", _TIME_OUT, how], check=False, capture_output=True, timeout=60)
    if how == "quick":
        assert (done.returncode, done.stdout, done.stderr) == (0, b"done\n", b"")
    else:
        assert done.returncode == (signals.TIME_IS_UP_EXIT if names else -signal.SIGALRM)
