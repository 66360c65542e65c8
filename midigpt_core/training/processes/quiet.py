"""Silences Lightning's own messages during a run; the warnings do not apply here."""

from __future__ import annotations

import contextlib
import logging
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning")
_REMARKS = (
    # The evaluation batches are kept in memory; workers would have nothing to do.
    r".*does not have many workers.*",
    # Lightning's own use of PyTorch, once per batch.
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
)


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Inside, Lightning logs warnings and errors only. Levels and filters are restored afterwards."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for remark in _REMARKS:
            warnings.filterwarnings("ignore", message=remark)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
