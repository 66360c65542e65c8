"""Runs in processes of their own, stopped at a chosen micro-batch by a real signal."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import socket
import sys
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen

from midigpt_core.checkpoint import load_checkpoint
from midigpt_core.cli.main import main
from midigpt_core.training.loop.module import TrainingModule

from .training import curve, evaluations

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence
    from multiprocessing.process import BaseProcess

    from midigpt_core.config import TrainConfig

# The first gradient of a process starts a thread for each GPU, and a process forked after that can compute none. A
# FakeTensorMode, on a PyTorch for CUDA without a GPU, registers eight GPUs that do not exist: this gradient is first.
torch.zeros(1, requires_grad=True).sum().backward()

#: No run of these tests takes a third of it; what hangs is killed.
WATCHDOG_S = 90.0


@frozen
class Stop:
    """A signal to itself in micro-batch ``micro_batch`` (from 0) of the step after ``step`` steps."""

    step: int
    micro_batch: int
    signal: signal.Signals
    #: Whether it goes to the whole process group, as Ctrl-C does.
    group: bool = False
    #: Only the process of this rank is told.
    rank: int = 0
    #: Seconds that the micro-batch lasts after the signal.
    lasting: float = 0.0
    #: The micro-batch is one of the evaluation after ``step``.
    in_evaluation: bool = False


@frozen
class Run:
    """``midigpt train --resume auto`` as a forked process: a fresh interpreter would spend its time on imports."""

    config: TrainConfig
    train_data: Path
    eval_data: Path | None = None
    #: A descriptor for standard output and error; None: the test's own.
    output: int | None = None

    def start(
        self, stop: Stop | None = None, *, rank: int = 0, environment: dict[str, str] | None = None
    ) -> BaseProcess:
        process = multiprocessing.get_context("fork").Process(target=self._main, args=(stop, rank, environment or {}))
        process.start()
        return process

    def exit_code(self, stop: Stop | None = None) -> int | None:
        return joined([self.start(stop)])[0]

    def ranks(self, count: int, stop: Stop | None = None) -> list[int | None]:
        """The exit codes of as many processes, set up as torchrun would."""
        return joined(self.started(count, stop))

    def started(self, count: int, stop: Stop | None = None) -> list[BaseProcess]:
        """As many processes, set up as torchrun would."""
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        common = {
            "TORCHELASTIC_RUN_ID": "test",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "GROUP_RANK": "0",
            "GLOO_SOCKET_IFNAME": "lo",
            "CUDA_VISIBLE_DEVICES": "",
        }
        ranks = range(count)
        return [
            self.start(stop, rank=rank, environment={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in ranks
        ]

    @property
    def folder(self) -> Path:
        return Path(self.config.output_dir)

    def _main(self, stop: Stop | None, rank: int, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        os.setpgid(0, 0)
        if self.output is not None:
            os.dup2(self.output, 1)
            os.dup2(self.output, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        self.folder.mkdir(parents=True, exist_ok=True)
        _observe(self.folder / f"observed-{rank}.jsonl", stop if stop and stop.rank == rank else None)
        configuration = self.folder / f"asked-{rank}.json"
        configuration.write_text(json.dumps(self.config.set_values()), encoding="utf-8")
        arguments = ["train", "--config", str(configuration), "--train-data", str(self.train_data), "--resume", "auto"]
        if self.eval_data is not None:
            arguments += ["--eval-data", str(self.eval_data)]
        # Not sys.exit: what pytest has registered for its own exit is none of the child's business.
        os._exit(_leave(main(arguments)))


def _leave(code: int) -> int:
    for child in multiprocessing.active_children():
        child.join(5)
    return code


def _observe(path: Path, stop: Stop | None) -> None:
    """Have every micro-batch written to ``path`` before it is trained on, and the signal sent where it is due."""
    original = TrainingModule.training_step

    def training_step(self: TrainingModule, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        step, micro_batch = self.trainer.global_step, batch_idx % self.trainer.accumulate_grad_batches
        content = b"".join(batch[name].numpy().tobytes() for name in ("input_ids", "labels", "document_ids"))
        seen = {
            "at": [step, micro_batch],
            "rows": batch["row"].tolist(),
            "content": zlib.crc32(content),
            "workers": [child.pid for child in multiprocessing.active_children()],
        }
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(seen) + "\n")
        if stop is not None and not stop.in_evaluation and (step, micro_batch) == (stop.step, stop.micro_batch):
            (os.killpg if stop.group else os.kill)(os.getpid(), stop.signal)
            # Native, so that Python's handlers wait.
            hashlib.pbkdf2_hmac("sha256", b"", b"", 1 + int(stop.lasting * 4e6))
        return original(self, batch, batch_idx)

    def validation_step(self: TrainingModule, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        if (
            stop is not None
            and stop.in_evaluation
            and (self.trainer.global_step, batch_idx) == (stop.step, stop.micro_batch)
        ):
            os.kill(os.getpid(), stop.signal)
        evaluate(self, batch, batch_idx)

    evaluate = TrainingModule.validation_step
    TrainingModule.training_step = training_step  # type: ignore[method-assign]
    TrainingModule.validation_step = validation_step  # type: ignore[method-assign]


def joined(processes: Sequence[BaseProcess]) -> list[int | None]:
    """Exit codes (negative: killed by that signal), once all have ended; None for one that the watchdog killed."""
    deadline = time.monotonic() + WATCHDOG_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    hung = [process for process in processes if process.is_alive()]
    for process in hung:
        process.kill()
        process.join()
    return [None if process in hung else process.exitcode for process in processes]


def observed(folder: Path, rank: int = 0) -> list[dict[str, Any]]:
    """The micro-batches that a run has noted so far; a line that is still being written is none yet."""
    path = folder / f"observed-{rank}.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def has_reached(folder: Path, at: list[int]) -> bool:
    return [seen["at"] for seen in observed(folder)[-1:]] == [at]


def outcome(folder: Path) -> dict[str, Any]:
    """All that must be equal to the last bit: curve, evaluations, weights, and the tokens of every micro-batch."""
    tokens = {tuple(seen["at"]): (seen["rows"], seen["content"]) for seen in observed(folder)}
    weights = load_checkpoint(folder / "model_final.pt").state_dict
    return {
        "curve": curve(folder),
        "evaluations": evaluations(folder),
        "tokens": dict(sorted(tokens.items())),
        "weights": {name: tensor.numpy().tobytes() for name, tensor in weights.items()},
    }


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
