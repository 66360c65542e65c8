"""Gives generated music to metrics and checks their answers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from midigpt_core.contracts import MetricContext
from midigpt_core.errors import ComponentError, MidigptError, PluginError
from midigpt_core.kinds import Kind
from midigpt_core.plugins import build, structure_options
from midigpt_core.records import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.components import ComponentRef
    from midigpt_core.contracts import Encoder, KnownBars, Metric
    from midigpt_core.plugins import Registry
    from midigpt_core.records import GeneratedMusic

#: Seed of the excerpts, of the generated bars and of intervals: the same for every model, so that figures can be
#: compared.
MUSIC_SEED = 0
_PART = re.compile(r"([a-z0-9_-]+(/[a-z0-9_-]+)*)?")


@frozen(kw_only=True)
class MusicReport:
    """The figures of the music that a model generated."""

    #: By name: ``copy_rate``, ``copy_rate/drums``, …
    figures: Mapping[str, Figure]
    #: How many excerpts bars were generated in, and of how many different pieces.
    excerpts: int
    pieces: int
    #: Bars that were generated in them, and requests for a level of a control, which are counted apart.
    bars: int
    requests: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def scalars(self) -> dict[str, float]:
        """The values under flat names, for loggers: ``music/copy_rate``, ``music/control/exact``, …"""
        return {f"music/{name}": figure.value for name, figure in self.figures.items() if figure.value is not None}


def chosen_metrics(registry: Registry, choices: Sequence[str | Mapping[str, Any]] = ()) -> dict[str, ComponentRef]:
    """The metrics by the names that their figures begin with; without ``choices``: all of the active plugins.

    A choice is a name, or ``{"name": …, options…}``. A metric whose name another one has too is named ``plugin/name``.
    Raises :class:`midigpt_core.errors.MidigptError` for an unknown name, and for options that do not fit.
    """
    refs = [registry.resolve(Kind.METRIC, choice) for choice in choices]
    refs = refs or [item.ref() for item in registry.provided(Kind.METRIC)]
    plugins = {name: {ref.plugin for ref in refs if ref.name == name} for name in (ref.name for ref in refs)}
    if not refs:
        raise PluginError("no active plugin has a metric. Leave out --no-plugin, or install one.")
    for ref in refs:
        structure_options(ref)
    return {ref.name if len(plugins[ref.name]) == 1 else f"{ref.plugin}/{ref.name}": ref for ref in refs}


def measure(
    metrics: Mapping[str, ComponentRef],
    music: GeneratedMusic,
    encoder: Encoder,
    *,
    training_bars: KnownBars | None = None,
    pieces: int,
) -> MusicReport:
    """The figures of ``metrics`` on excerpts of ``pieces`` different pieces.

    Raises :class:`ComponentError` naming a metric that fails.
    """
    context = MetricContext(encoder=encoder, seed=MUSIC_SEED, training_bars=training_bars)
    figures: dict[str, Figure] = {}
    for name, ref in metrics.items():
        metric: Metric = build(ref, context)
        try:
            answer = metric.measure(music)
            problem = contradiction(answer)
            if problem:
                raise ValueError(f"measure() returned {problem}")
        except MidigptError:
            raise
        except Exception as error:
            raise ComponentError(str(ref), f"on {len(music)} excerpts", error) from error
        for part, figure in answer.items():
            figures[f"{name}/{part}" if part else name] = figure
    return MusicReport(
        figures=figures,
        excerpts=len(music),
        pieces=pieces,
        bars=int(music.cells.sum()),
        requests=len(music.controls),
    )


def contradiction(answer: object) -> str:
    """What is wrong with a metric's answer; empty if nothing is."""
    if not isinstance(answer, Mapping):
        return f"a {type(answer).__name__}, not a mapping of names to figures"
    for name, figure in answer.items():
        if not isinstance(name, str) or not _PART.fullmatch(name):
            return f"the name {name!r}, which is not made of lower-case letters, digits, '-', '_' and '/'"
        if not isinstance(figure, Figure):
            return f"a {type(figure).__name__}, not a Figure, for {name!r}"
        for field in ("value", "low", "high", "baseline"):
            number = getattr(figure, field)
            if number is None:
                continue
            if type(number) not in (int, float) or not math.isfinite(number):
                return f"{field} {number!r} for {name!r}, which is no finite int or float"
            # An interval that is computed as a sum may miss 1 by a rounding error.
            if figure.is_share and not -1e-9 <= number <= 1 + 1e-9:
                return f"{field} {number!r} for {name!r}, which is said to be a share"
        if figure.low is not None and figure.high is not None and figure.low > figure.high:
            return f"an interval from {figure.low} to {figure.high} for {name!r}"
        if type(figure.count) is not int or figure.count < 0:
            return f"the count {figure.count!r} for {name!r}"
    return ""
