"""Reads the files of a run for its report: as much as there is, of a run that goes on or was interrupted, too."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from midigpt_core import files
from midigpt_core.errors import DataError, readable_name
from midigpt_core.paths import usable_path
from midigpt_core.training.reporting import metrics_file
from midigpt_core.training.reporting.run_charts import step_records

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

#: The largest description that is read. A run's own have a few kilobytes; the corpora of many shards have more.
_MOST_BYTES = 4 << 20
#: A metrics file that was written to so many seconds ago belongs to a run that is training.
_FRESH = 60.0
_SAMPLE_FOLDER = re.compile(r"step([0-9]{1,15})")


@frozen(eq=False, kw_only=True)
class RunFiles:
    """What is in the folder of a run. A file that is missing or damaged is empty, and named in ``problems``."""

    folder: Path
    #: One mapping per line of the metrics, as it was written.
    metrics: Sequence[dict[str, Any]]
    settings: Mapping[str, Any]
    corpus: Mapping[str, Any]
    provenance: Mapping[str, Any]
    environment: Mapping[str, Any]
    #: Name and bytes of each bundle.
    bundles: Sequence[tuple[str, int]]
    #: The folders of samples by step, ascending.
    samples: Sequence[tuple[int, Path]]
    #: When the metrics were last written, seconds since the epoch; None without any.
    written: float | None
    #: When the folder was read.
    read: float = field(factory=time.time)
    problems: Sequence[str]

    @property
    def name(self) -> str:
        return readable_name(self.folder.resolve().name) or "run"

    @property
    def steps(self) -> int:
        """The last step that was taken."""
        taken = step_records(self.metrics)
        return int(taken[-1]["step"]) if taken else 0

    @property
    def planned(self) -> int | None:
        """The setting ``max_steps``; None if it is not known."""
        steps = self.setting("max_steps")
        return steps if type(steps) is int and steps > 0 else None

    @property
    def state(self) -> str:
        """``finished``, ``training`` or ``not finished``."""
        has_result = any(name.startswith("model_final") for name, _ in self.bundles)
        if has_result and (self.planned is None or self.steps >= self.planned):
            return "finished"
        is_fresh = self.written is not None and self.read - self.written < _FRESH
        return "training" if is_fresh else "not finished"

    def setting(self, name: str) -> Any:
        """The value of a setting; None if it is not known."""
        entry = self.settings.get(name)
        return entry.get("value") if isinstance(entry, dict) else None


def read_run(run: str | os.PathLike[str]) -> RunFiles:
    """Read the folder of a run, or the folder of the metrics file that is named.

    Raises :class:`midigpt_core.errors.DataError` if it is not the folder of a run.
    """
    folder = metrics_file.run_folder(usable_path(run))
    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder. Name the folder of a run, the output_dir of 'midigpt train'.")
    # Also reports a folder that may not be searched.
    usable_path(folder / metrics_file.NAME)
    if not any((folder / name).exists() for name in (metrics_file.NAME, "settings.json")):
        raise DataError(
            f"{folder}: is not the folder of a run, which has {metrics_file.NAME} and settings.json. Name the "
            "output_dir of 'midigpt train'."
        )
    problems: list[str] = []
    metrics, written = _metrics(folder / metrics_file.NAME, problems)
    described = {name: _description(folder / f"{name}.json", problems) for name in _DESCRIPTIONS}
    return RunFiles(
        folder=folder,
        metrics=metrics,
        settings=described["settings"],
        corpus=described["corpus"],
        provenance=described["provenance"],
        environment=described["environment"],
        bundles=_bundles(folder),
        samples=_samples(folder / "samples"),
        written=written,
        problems=problems,
    )


_DESCRIPTIONS = ("settings", "corpus", "provenance", "environment")


def _metrics(path: Path, problems: list[str]) -> tuple[list[dict[str, Any]], float | None]:
    if not path.exists():
        problems.append(f"{path.name} is not there: no step has been taken.")
        return [], None
    try:
        found, skipped = metrics_file.records_and_skipped(path)
        written = path.stat().st_mtime
    except (DataError, OSError) as error:
        problems.append(f"{path.name} cannot be read ({error}).")
        return [], None
    if skipped:
        lines = "1 line is" if skipped == 1 else f"{skipped:,} lines are"
        problems.append(f"{path.name} is damaged: {lines} left out.")
    return found, written


def _description(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        content = json.loads(files.read_bytes(path, _MOST_BYTES))
    except FileNotFoundError:
        problems.append(f"{path.name} is not there.")
        return {}
    except OSError as error:
        problems.append(f"{path.name} cannot be read ({error.strerror}).")
        return {}
    except (ValueError, RecursionError):
        problems.append(f"{path.name} is damaged: it is not JSON.")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path.name} is damaged: it is not an object.")
        return {}
    return content


def _bundles(folder: Path) -> list[tuple[str, int]]:
    """The final bundle and those of saved steps, by name."""
    found = []
    for parent in (folder, folder / "checkpoints"):
        for path in _listed(parent):
            if path.name.startswith("model") and path.is_file():
                found.append((readable_name(path.relative_to(folder)), path.stat().st_size))
    return sorted(found, key=lambda bundle: (bundle[0].startswith("checkpoints"), len(bundle[0]), bundle[0]))


def _samples(folder: Path) -> list[tuple[int, Path]]:
    matches = [(_SAMPLE_FOLDER.fullmatch(path.name), path) for path in _listed(folder)]
    return sorted((int(match[1]), path) for match, path in matches if match is not None and path.is_dir())


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # not there, or no folder
        return []
