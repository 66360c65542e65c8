"""The files that describe a run in its folder, and the lock on the folder."""

from __future__ import annotations

import json
import platform
import sys
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch
from attrs import asdict, define

from midigpt_core.checkpoint.provenance import provenance
from midigpt_core.config import choices
from midigpt_core.files import only_writer, write_text
from midigpt_core.kinds import RUN_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from midigpt_core.config import TrainConfig
    from midigpt_core.training.planning.prepare import Plan

_PACKAGES = ("midigpt-core", "torch", "lightning", "transformers", "numpy", "pyarrow", "safetensors")


@define
class HeldFolder:
    """The folder of a run. No other run may use it, and it must stay in place during the run."""

    path: Path
    _require: Callable[[], None] | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder against other runs. Only rank 0, which writes all files, does this."""
        with only_writer(self.path) as self._require:
            yield

    def require_there(self) -> None:
        """Raise :class:`midigpt_core.files.WriteError` if the folder was removed or replaced."""
        if self._require is not None:
            self._require()


def describe_run(plan: Plan) -> None:
    """Write ``config.json`` and ``encoder.json`` (both can be used for another run), ``settings.json`` (every value and
    its origin), ``provenance.json``, ``corpus.json`` and ``environment.json``."""
    folder = plan.run_dir
    # Only settings that were set: a default in the file would count as set when the file is read again.
    _write(folder / "config.json", plan.config.set_values())
    _write(folder / "settings.json", settings_with_origins(plan.config))
    _write(folder / "encoder.json", plan.encoder.to_config())
    _write(folder / "provenance.json", run_provenance(plan, steps=0))
    evaluation = plan.eval_pieces.to_dict() if plan.eval_pieces else None
    sets = [one.to_dict() for one in plan.train_sets]
    _write(folder / "corpus.json", {"train": plan.train_pieces.to_dict(), "train_sets": sets, "eval": evaluation})
    _write(folder / "environment.json", environment())


def settings_with_origins(config: TrainConfig) -> dict[str, dict[str, Any]]:
    """Every setting with its value and where it came from. A short spelling has the value of the option that it
    spells, also if that was set as the component's option."""
    origins, values = dict(config.origins), config.to_dict()
    for kind in RUN_KINDS:
        choice = config.choice(kind)
        for option, spelling in choices.spelled_options(kind, choice["name"]).items():
            if option in choice and choice[option] != values[spelling]:
                values[spelling] = choice[option]
                origins[spelling] = origins.get(f"{kind.setting}.{option}", origins[kind.setting])
    return {name: {"value": values[name], "origin": origins[name]} for name in values}


def run_provenance(
    plan: Plan, *, steps: int, metrics: dict[str, float] | None = None, copies: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The provenance that a run's bundles store: components, corpus, steps, how the data was drawn, and copy rates."""
    record = provenance(
        plan.chosen.all,
        corpus=plan.train_pieces.fingerprint,
        steps=steps,
        metrics=metrics,
        seed=plan.config.seed,
    )
    # Lists, not tuples: a bundle stores JSON values.
    settings = json.loads(json.dumps(asdict(plan.training.settings)))
    config = plan.config
    # Batch size and precision too: they affect the last digits of a loss.
    evaluation = {"rows": config.eval_rows, "batch_size": config.batch_size, "precision": config.precision}
    held_out = {"held_out": config.eval_share} if plan.is_held_out else {}
    left_out = {} if config.deduplicate == "none" else {"deduplicate": config.deduplicate}
    fetched = {"data_sets": list(plan.train_pieces.data_sets)} if plan.train_pieces.data_sets else {}
    base = {} if plan.base is None else {"base": plan.base.record()}
    return {
        **record,
        "sources": list(plan.sources),
        **base,
        **fetched,
        "stream": settings,
        "evaluation": evaluation,
        **held_out,
        **left_out,
        **({"copies": dict(copies)} if copies else {}),
    }


def environment() -> dict[str, Any]:
    """The hardware and versions that can affect the result."""
    cuda = torch.cuda.is_available()
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if cuda else [],
        "cuda": torch.version.cuda,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _write(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2, default=str) + "\n")
