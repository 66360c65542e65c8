"""The rendezvous of a run's processes: reports a long wait, and a failure in one line."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback
from torch import distributed

from midigpt_core.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lightning.pytorch import LightningModule, Trainer

#: Seconds of waiting for the other ranks before the first message.
PATIENCE_S = 10.0


class Rendezvous(Callback):
    """Reports what the run is waiting for when other ranks are missing, and why it cannot continue."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._have_met = threading.Event()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning calls this first after the ranks have met."""
        self._have_met.set()

    @contextlib.contextmanager
    def awaited(self, trainer: Trainer) -> Iterator[None]:
        """Wraps ``trainer.fit``. Raises :class:`TrainingError` with the address if the ranks cannot meet."""
        if trainer.world_size == 1:
            yield
            return
        environment: Any = getattr(trainer.strategy, "cluster_environment", None)
        address, port = environment.main_address, environment.main_port
        # torchrun's own process already listens there.
        if trainer.global_rank == 0 and "TORCHELASTIC_RUN_ID" not in os.environ:
            _require_free(port)
        place = f"{address}:{port}"
        threading.Thread(target=self._wait, args=(_warning(trainer, place),), name="rendezvous", daemon=True).start()
        try:
            yield
        except distributed.DistError as error:
            if self._have_met.is_set():
                raise
            raise TrainingError(
                f"rank {trainer.global_rank} of {trainer.world_size} did not meet the others at {place}"
                f" ({str(error).splitlines()[0].rstrip('.')}). {_ADVICE}"
            ) from error
        finally:
            self._have_met.set()

    def _wait(self, warning: str) -> None:
        if not self._have_met.wait(PATIENCE_S):
            self._say(warning)


_ADVICE = (
    "Start a process for every device of every node (devices times num_nodes), with the same MASTER_ADDR and"
    " MASTER_PORT; LOCAL_RANK, RANK and NODE_RANK must not be left over from another run."
)


def _warning(trainer: Trainer, place: str) -> str:
    rank, count = trainer.global_rank, trainer.world_size
    whom = f"the other {count - 1} of {count} processes" if rank == 0 else "rank 0"
    return f"Rank {rank} of {count} has been waiting for {whom} at {place} for {PATIENCE_S:.0f} s. {_ADVICE}"


def _require_free(port: int) -> None:
    """Raise :class:`TrainingError` if another process uses the port. PyTorch's own error is a page long."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen()
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                return
            reason = "is in use by another process" if error.errno == errno.EADDRINUSE else "may not be used"
            raise TrainingError(
                f"port {port} of this machine {reason}. Set MASTER_PORT to a free one, the same on all nodes."
            ) from None
