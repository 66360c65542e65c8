"""Reports a rank that ended or hangs: which one, and what happened to it, in one line."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from torch import distributed

from midigpt_core.errors import RankLost
from midigpt_core.system.signals import name_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from lightning.pytorch import Trainer

#: Seconds that the remaining ranks have to answer.
_ROLL_CALL_S = 5.0
#: Seconds within which the backend should detect that a process started by this one is gone. Some never do.
_DETECTED_S = 10.0
_POLL_S = 0.2
#: The first words of the messages of torch's backends about another rank.
_BACKENDS = ("gloo", "NCCL", "ProcessGroup", "c10d", "pair closure", "Connection closed by peer", "Timed out waiting")


@contextlib.contextmanager
def named_lost_ranks(
    trainer: Trainer, timeout_s: int, step: Callable[[], int], say: Callable[[str], None]
) -> Iterator[None]:
    """Wraps ``trainer.fit``. If a rank is gone or does nothing for ``timeout_s`` seconds, turns the backend's error
    into :class:`RankLost`. ``step`` returns the number of steps taken."""
    if trainer.world_size == 1:
        yield
        return
    children = _Children(trainer, lambda lost: say(f"Error: {_message(lost, step(), timeout_s)}"))
    try:
        with children:
            yield
    except RuntimeError as error:
        if not (distributed.is_initialized() and _is_of_backend(error)):
            raise
        lost = children.ended() or _absent(trainer.global_rank, trainer.world_size)
        first = min(set(range(trainer.world_size)) - lost.keys(), default=0)
        raise RankLost(_message(lost, step(), timeout_s), rank=trainer.global_rank - first) from error


def _is_of_backend(error: RuntimeError) -> bool:
    return isinstance(error, distributed.DistError) or any(name in str(error) for name in _BACKENDS)


def _message(lost: dict[int, str], step: int, timeout_s: int) -> str:
    if not lost:
        what = f"no answer from another rank within {timeout_s} s (collective_timeout)"
    elif any(lost.values()):
        what = ", ".join(f"rank {rank} {how or 'is gone'}" for rank, how in lost.items())
    else:
        one = len(lost) == 1
        names = f"rank{'' if one else 's'} {', '.join(map(str, lost))}"
        what = f"{names} ended, or did nothing for {timeout_s} s (collective_timeout)"
    return (
        f"step {step + 1}: {what}. See what {'it' if len(lost) == 1 else 'they'} said last; resume from the last"
        " checkpoint with --resume auto."
    )


def _absent(rank: int, world_size: int) -> dict[int, str]:
    """The ranks that do not answer a roll call in the store that all ranks share."""
    store = distributed.distributed_c10d._get_default_store()
    deadline = time.monotonic() + _ROLL_CALL_S
    lost: dict[int, str] = {}
    try:
        store.set(f"midigpt/here/{rank}", "1")
        for other in range(world_size):
            left = max(deadline - time.monotonic(), 0.05)
            try:
                store.wait([f"midigpt/here/{other}"], timedelta(seconds=left))
            except distributed.DistStoreError:
                lost[other] = ""
    except distributed.DistNetworkError:
        return {0: ""}
    return lost


class _Children:
    """Watches the processes that this one started as the other ranks of its machine.

    Lightning's own watch would end this process by SIGKILL, without a message.
    """

    def __init__(self, trainer: Trainer, say: Callable[[dict[int, str]], None]) -> None:
        self._trainer = trainer
        self._say = say
        self._over = threading.Event()
        self._ranks: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> None:
        threading.Thread(target=self._watch, name="ranks", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def ended(self) -> dict[int, str]:
        """How the processes that failed ended, by rank."""
        self._take_over()
        codes = {rank: process.poll() for rank, process in self._ranks.items()}
        return {rank: _how(code) for rank, code in codes.items() if code and not _is_stop(code)}

    def _take_over(self) -> None:
        launcher = self._trainer.strategy.launcher
        started: list[subprocess.Popen[bytes]] = getattr(launcher, "procs", [])
        if started and len(started) == launcher.num_processes - 1:  # type: ignore[union-attr]
            first = self._trainer.global_rank + 1
            self._ranks = {first + index: process for index, process in enumerate(started)}
            # Lightning's watch checks this list.
            started.clear()

    def _watch(self) -> None:
        while not self._over.wait(_POLL_S):
            lost = self.ended()
            if lost:
                if not self._over.wait(_DETECTED_S):
                    self._say(lost)
                    sys.stderr.flush()
                    os._exit(RankLost.exit_code)
                return


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    name = name_of(-code)
    return f"was killed by {name}" + (", as systems do when memory runs out" if name == "SIGKILL" else "")


def _is_stop(code: int) -> bool:
    """Whether the process stopped on a signal, as this one is about to."""
    return code > 128
