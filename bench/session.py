"""What a group of rows needs to measure: how often, with which data, and the peer if it is here."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import midigpt_encoder
from attrs import frozen

from bench.peer_process import PeerProcess

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
    #: The interpreter of the peer's environment (``make peer``), or None: rows then say nothing of the peer.
    peer_python: Path | None

    def preset(self, name: str) -> Path:
        """The JSON of one of the bundled encoder configurations, which the peer reads too."""
        return PRESETS / f"{name}.json"

    @contextlib.contextmanager
    def peer(self, script: str, *arguments: object) -> Iterator[PeerProcess | None]:
        """A contender that runs ``bench/peer/<script>``, or None without a peer."""
        if self.peer_python is None:
            yield None
            return
        cache = self.folder / "peer-cache"
        cache.mkdir(parents=True, exist_ok=True)
        with PeerProcess(self.peer_python, script, *arguments, cache=cache) as process:
            yield process
