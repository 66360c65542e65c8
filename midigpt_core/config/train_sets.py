"""Several training sets and how often a run draws from each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen, validators

from midigpt_core.paths import path_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@frozen(kw_only=True)
class TrainSet:
    """One of several training sets."""

    #: Shards as ``--train-data`` takes them: files, folders or globs.
    paths: str | tuple[str, ...]
    #: How often a window is drawn from this set, relative to the others.
    weight: float = field(default=1.0, validator=validators.gt(0))
    #: For reports; empty: ``set1``, ``set2``, … by its position.
    name: str = ""
    #: Data source component; None: the run's.
    source: str | dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """What was given, as plain values."""
        paths = self.paths if isinstance(self.paths, str) else list(self.paths)
        given = {"paths": paths, "weight": self.weight, "name": self.name, "source": self.source}
        return {key: value for key, value in given.items() if value not in ("", None)}


def set_names(sets: Sequence[TrainSet]) -> list[str]:
    """The name of each set: its own, or one by its position."""
    return [one.name or f"set{place}" for place, one in enumerate(sets, 1)]


def contradictions(sets: Sequence[TrainSet]) -> Iterator[str]:
    """The contradictions between the sets."""
    names = set_names(sets)
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"train_sets: {names.count(name)} sets are called {name!r}. Give each a name of its own"
    for name, one in zip(names, sets, strict=True):
        if one.paths == ():
            yield f"train_sets: {name} has no paths. Name its shards"
        for path in [one.paths] if isinstance(one.paths, str) else one.paths:
            if problem := path_problem(path):
                yield f"train_sets: paths of {name}: {path[:200]}{': ' if path else ''}{problem}"
