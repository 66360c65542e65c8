"""Who made a bundle: versions, plugins, options and data, as plain values."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from midigpt_core import API_VERSION, __version__
from midigpt_core.checkpoint.plain import mapping_or_empty
from midigpt_core.terminal import printable  # noqa: F401 (plugins import it from here)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from midigpt_core.components import ComponentRef


def provenance(
    components: Iterable[ComponentRef],
    *,
    corpus: str = "",
    steps: int = 0,
    metrics: Mapping[str, float] | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """What a bundle records: plain types only, so that every format can store it.

    ``corpus`` is the fingerprint of the corpus, ``steps`` counts optimiser steps, ``metrics`` are the last that were
    measured. Of each component its plugin, distribution and version are kept, and a hash of its options
    (:func:`options_hash`), which distinguishes runs without storing paths of the machine.
    """
    record = {**_made_with(components), "corpus": corpus, "steps": steps}
    if metrics:
        # Infinity and NaN are not JSON.
        record["metrics"] = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
    if seed is not None:
        record["seed"] = seed
    return record


def data_sources(provenance: Mapping[str, Any]) -> list[str]:
    """Names of the data sources through which all training data came, that of a parent included; ``unknown`` among them
    for a model, or a parent, that another program trained."""
    recorded = provenance.get("sources")
    if isinstance(recorded, list) and recorded and all(isinstance(name, str) for name in recorded):
        return recorded
    components = mapping_or_empty(provenance.get("components"))
    name = mapping_or_empty(components.get("source")).get("name")
    return [name] if isinstance(name, str) else ["unknown"]


def imported_provenance(components: Iterable[ComponentRef]) -> dict[str, Any]:
    """The provenance of a bundle that another program trained: the versions that read it, without a corpus."""
    return {**_made_with(components), "corpus": "", "imported": True}


def _made_with(components: Iterable[ComponentRef]) -> dict[str, Any]:
    return {
        "midigpt_core": __version__,
        "api": API_VERSION,
        "python": platform.python_version(),
        "torch": _version("torch"),
        "components": {
            ref.kind.value: {
                "name": ref.name,
                "plugin": ref.plugin,
                "distribution": ref.distribution,
                "version": ref.version,
                "options_sha256": options_hash(ref.options),
            }
            for ref in components
        },
    }


def options_hash(options: Mapping[str, Any]) -> str:
    """sha256 of the options as JSON with sorted keys, hexadecimal."""
    text = json.dumps(options, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
