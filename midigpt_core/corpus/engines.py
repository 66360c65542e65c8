"""Engines: where ``midigpt preprocess --engine NAME`` builds corpora, if not on this machine.

An engine is not a component of a run: no configuration and no bundle names it. A distribution provides one with an
entry point in the group ``midigpt_core.engines``, a function that takes the address of the machines (an empty text: the
engine's default) and returns an :class:`Engine`.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from midigpt_core.errors import PluginError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from midigpt_core.contracts import SourceShard

GROUP = "midigpt_core.engines"


@frozen(kw_only=True)
class ShardResult:
    """The corpus of one shard, found or built. It can be pickled."""

    data_path: Path
    #: The source file's name, for messages.
    source: str
    #: Rows by reason; ``"kept"`` are those with music.
    counts: dict[str, int]
    #: A few rows for each reason but ``"kept"``.
    examples: dict[str, list[str]]
    #: Whether this build parsed the shard, or copied it from the store.
    is_new: bool = False
    is_fetched: bool = False

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


class ShardTask(Protocol):
    """What an engine has done on its machines. It can be pickled."""

    def check(self) -> None:
        """Raise :class:`midigpt_core.errors.MidigptError` if the machine on which it is called cannot build corpora."""

    def __call__(self, shard: SourceShard) -> ShardResult:
        """Build the corpus of a shard on the machine on which it is called, in one thread and a parser's process.

        To call it again for the same shard does no harm. Raises :class:`midigpt_core.errors.MidigptError` for what the
        user can fix.
        """


class Engine(Protocol):
    """Machines that build corpora."""

    def run(self, task: ShardTask, shards: Sequence[SourceShard]) -> Generator[tuple[int, ShardResult]]:
        """Call ``task`` for each shard and yield the shards' numbers with their results, in the order in which they
        finish. A shard whose machine is lost is given to another one.

        Raises :class:`midigpt_core.errors.MidigptError` for what the user can fix, with the machine's name: machines
        that cannot be reached, or that lack a package. Closing the generator ends the work.
        """


def find_engine(name: str, address: str = "") -> Engine:
    """The engine of this name. Raises :class:`PluginError` if there is none, or a package that it needs is missing."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        raise PluginError(unknown_name("engine", name, found))
    try:
        build = found[name].load()
    except ModuleNotFoundError as error:
        raise PluginError(
            f"engine {name!r} needs the package {error.name!r}, which is not installed. "
            f"Install it with: pip install 'midigpt-core[{name}]'."
        ) from error
    engine: Engine = build(address)
    return engine
