"""Retention of a run's checkpoints: the newest, and the one with the lowest evaluation loss."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from midigpt_core import terminal
from midigpt_core.files import remove_leftovers
from midigpt_core.training.keeping.checkpoints import is_whole
from midigpt_core.training.planning.resume import step_files

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

_log = terminal.logger("midigpt_core.training")

_SET_ASIDE = "set-aside"


def _none(_step: int) -> float:
    return 0.0


class CheckpointFolder:
    """``step5000.ckpt`` and ``model-step5000.pt`` for every step that is kept."""

    def __init__(self, path: Path, *, keep: int, bundle_suffix: str) -> None:
        self.path = path
        self._keep = keep
        self._suffix = bundle_suffix

    def checkpoint(self, step: int) -> Path:
        return self.path / f"step{step}.ckpt"

    def bundle(self, step: int) -> Path:
        return self.path / f"model-step{step}{self._suffix}"

    def adapter(self, step: int) -> Path:
        """The adapter of a step, in a run that has one."""
        return self.path / f"adapter-step{step}.safetensors"

    def clean(self) -> None:
        """Remove unfinished files of writers that were killed."""
        if self.path.is_dir():
            remove_leftovers(self.path)

    def set_aside_after(self, step: int) -> None:
        """Move checkpoints after ``step``, from which the run continues, to another folder. The run abandoned them, and
        ``auto`` must not resume from them."""
        later = [found for found in step_files(self.path) if found > step]
        if not later:
            return
        aside = self._free_folder()
        aside.mkdir()
        for path in [file(found) for found in later for file in (self.bundle, self.adapter, self.checkpoint)]:
            if path.exists():
                path.replace(aside / path.name)
        steps = ", ".join(map(str, later))
        _log.warning("the run continues after step %d: later checkpoints (step %s) are now in %s.", step, steps, aside)

    def _free_folder(self) -> Path:
        """A new folder ``set-aside``, ``set-aside-2``, …"""
        names = (f"{_SET_ASIDE}-{number}" for number in itertools.count(2))
        return next(path for name in itertools.chain([_SET_ASIDE], names) if not (path := self.path / name).exists())

    def best(self, losses: Mapping[int, float], excess: Callable[[int], float] = _none) -> int | None:
        """The saved step with the least ``excess`` (by how much it is above a limit), and of these the one with the
        lowest of ``losses`` (evaluation loss by step); the first one in a tie."""
        there = [step for step in step_files(self.path) if math.isfinite(losses.get(step, math.nan))]
        return min(there, key=lambda step: (excess(step), losses[step], step), default=None)

    def retire(
        self,
        losses: Mapping[int, float],
        *,
        excess: Callable[[int], float] = _none,
        also: Collection[int] = (),
    ) -> None:
        """Read back the newest checkpoint, then remove all but the newest ``keep``, the best and the steps ``also``."""
        steps = step_files(self.path)
        best = self.best(losses, excess)
        old = [step for step in list(steps)[: -self._keep] if step != best and step not in also]
        if not old:
            return
        newest = steps[max(steps)]
        if not is_whole(newest):
            _log.error("%s cannot be read back as it was written: no older checkpoint is removed.", newest)
            return
        for step in old:
            # The checkpoint last: if the process ends in between, the next call finds the checkpoint and removes it.
            self.bundle(step).unlink(missing_ok=True)
            self.adapter(step).unlink(missing_ok=True)
            steps[step].unlink(missing_ok=True)
