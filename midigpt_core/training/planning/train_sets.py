"""Joins the weighted training sets of a run into one sequence of pieces."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from midigpt_core.config.train_sets import set_names
from midigpt_core.corpus.select import by_verdict
from midigpt_core.corpus.status import in_order
from midigpt_core.corpus.tally import MAX_EXAMPLES
from midigpt_core.data.mixing import PieceSet
from midigpt_core.errors import ConfigError
from midigpt_core.plugins import structure_options
from midigpt_core.training.planning.chosen import source_of
from midigpt_core.training.planning.corpora import Pieces, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from midigpt_core.components import ComponentRef
    from midigpt_core.config import TrainConfig
    from midigpt_core.plugins import Registry
    from midigpt_core.training.planning.corpora import Paths


@frozen(eq=False, kw_only=True)
class GatheredSet:
    """A training set with its pieces."""

    name: str
    weight: float
    pieces: Pieces

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "weight": self.weight, **self.pieces.to_dict()}


def require_one_spelling(config: TrainConfig, train_path: Paths | None) -> None:
    """Raise :class:`ConfigError` unless exactly one of ``train_path`` and ``train_sets`` is given."""
    if train_path and config.train_sets:
        raise ConfigError(
            f"train_path (--train-data) and train_sets ({config.origins['train_sets']}) both name training data."
            " Keep one of them."
        )
    if not train_path and not config.train_sets:
        raise ConfigError("nothing to train on. Give train_path (--train-data), or train_sets in the configuration.")


def gather_sets(config: TrainConfig, collect: Callable[..., Pieces], registry: Registry) -> tuple[GatheredSet, ...]:
    """The sets of the configuration; ``collect(paths, source=ref)`` finds a set's pieces."""
    sources = _sources(config, registry)
    for source in sources:
        structure_options(source)
    return tuple(
        GatheredSet(name=name, weight=one.weight, pieces=collect(one.paths, source=source))
        for name, one, source in zip(set_names(config.train_sets), config.train_sets, sources, strict=True)
    )


def set_sources(config: TrainConfig, source: ComponentRef, registry: Registry) -> set[str]:
    """Names of the sets' data sources; ``source`` is that of a run without sets."""
    return {one.name for one in _sources(config, registry) or [source]}


def _sources(config: TrainConfig, registry: Registry) -> list[ComponentRef]:
    """The source of each set: the set's own, the run's, or the one that the set's paths need."""
    return [
        registry.resolve("source", one.source) if one.source else source_of(listed(one.paths), config, registry)
        for one in config.train_sets
    ]


def piece_sets(sets: Sequence[GatheredSet]) -> tuple[PieceSet, ...]:
    """The sets as the token stream draws from them."""
    return tuple(PieceSet(name=one.name, pieces=len(one.pieces.valid), weight=one.weight) for one in sets)


def joined(parts: Sequence[Pieces]) -> Pieces:
    """The pieces of several sets, one set after the other."""
    firsts = np.cumsum([0, *(part.corpus_pieces for part in parts)])
    return Pieces(
        shards=tuple(shard for part in parts for shard in part.shards),
        sources=tuple(source for part in parts for source in part.sources),
        corpus_pieces=int(firsts[-1]),
        valid=np.concatenate([first + part.valid for first, part in zip(firsts, parts, strict=False)]),
        fingerprint=hashlib.sha256("".join(part.fingerprint for part in parts).encode()).hexdigest(),
        rows=in_order(_added(part.rows for part in parts)),
        examples=_first_examples(part.examples for part in parts),
        selection=by_verdict(_added(part.selection for part in parts)),
        copies=_added(part.copies for part in parts),
        data_sets=tuple(sorted({name for part in parts for name in part.data_sets})),
    )


def _first_examples(examples: Iterable[Mapping[str, Sequence[str]]]) -> dict[str, list[str]]:
    merged: dict[str, list[str]] = {}
    for part in examples:
        for reason, rows in part.items():
            merged[reason] = [*merged.get(reason, ()), *rows][:MAX_EXAMPLES]
    return in_order(merged)


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in counts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total
