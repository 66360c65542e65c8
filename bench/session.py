"""The settings of a measurement: repeats, data, and the baseline if it is installed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import midigpt_encoder
from attrs import frozen

from bench.baseline_process import BaselineProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

PRESETS = Path(midigpt_encoder.__file__ or "").with_name("presets")


@frozen(kw_only=True)
class Session:
    """One run of the bench."""

    #: Counted turns of each contender.
    repeats: int
    #: Where data that the bench makes is kept, outside git.
    folder: Path
    #: The interpreter of the baseline's environment (``make baseline``); None: rows have no figure of the baseline.
    baseline_python: Path | None

    def preset(self, name: str) -> Path:
        """The JSON of one of the bundled encoder configurations, which the baseline reads too."""
        return PRESETS / f"{name}.json"

    @contextlib.contextmanager
    def baseline(self, script: str, *arguments: object) -> Iterator[BaselineProcess | None]:
        """A contender that runs ``bench/baseline/<script>``, or None without a baseline."""
        if self.baseline_python is None:
            yield None
            return
        cache = self.folder / "baseline-cache"
        cache.mkdir(parents=True, exist_ok=True)
        with BaselineProcess(self.baseline_python, script, *arguments, cache=cache) as process:
            yield process
