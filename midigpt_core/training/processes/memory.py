"""Explains out-of-memory errors in terms of the configuration."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from midigpt_core.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from midigpt_core.config import TrainConfig

#: Texts of the CPU allocator, which raises a plain RuntimeError.
_CPU_REMARKS = ("DefaultCPUAllocator", "not enough memory")


@contextlib.contextmanager
def explained_memory(config: TrainConfig, step: Callable[[], int]) -> Iterator[None]:
    """Turn out-of-memory errors into a :class:`TrainingError` that names settings to lower. ``step`` returns the number
    of steps taken."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_memory(error):
            raise
        first_line = str(error).partition("\n")[0] or "no memory left"
        raise TrainingError(
            f"step {step() + 1}: out of memory with {config.batch_size} packed rows of {config.max_seq_len} tokens a"
            f" micro-batch ({first_line}). {_advice(config)} Resume from the last checkpoint."
        ) from error


def is_memory(error: Exception) -> bool:
    """Whether ``error`` is an out-of-memory error."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(remark in str(error) for remark in _CPU_REMARKS)


def _advice(config: TrainConfig) -> str:
    ways = []
    if config.batch_size > 1:
        # The largest divisor: the steps keep the same packed rows.
        smaller = next(size for size in range(config.batch_size // 2, 0, -1) if config.batch_size % size == 0)
        more = config.accumulation * config.batch_size // smaller
        ways.append(f"set batch_size to {smaller} and accumulation to {more}, which gives the same steps")
    ways.append("lower max_seq_len")
    if not config.gradient_checkpointing:
        ways.append("set gradient_checkpointing to true")
    return f"To need less: {', or '.join(ways)}."
