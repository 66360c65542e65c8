"""Settings that were chosen for the user: which ones may be chosen, and those that a run was begun with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midigpt_core.config import TrainConfig
from midigpt_core.config.packaged import preset_names
from midigpt_core.errors import CheckpointError

if TYPE_CHECKING:
    import os

#: What the origin of a chosen setting begins with; the minutes follow.
CHOSEN = "chosen for "


def chosen_for(minutes: float) -> str:
    """The origin of settings that were chosen for so many minutes."""
    return f"{CHOSEN}{spelled_minutes(minutes)}"


def spelled_minutes(minutes: float) -> str:
    """``"15 minutes"``, ``"1 minute"``."""
    return f"{minutes:g} minute{'' if minutes == 1 else 's'}"


def leave_open(config: TrainConfig, minutes: float) -> None:
    """Mark settings that are chosen together with the number of steps as not chosen yet."""
    if is_free(config, "warmup_steps"):
        config.update({"warmup_steps": 0}, chosen_for(minutes))


def is_free(config: TrainConfig, name: str) -> bool:
    """Whether a setting may be chosen: neither a flag nor a file of the user set it."""
    origin = config.origins[name]
    return origin == "default" or origin in preset_names() or origin.startswith(CHOSEN)


def recorded_settings(resume: str | os.PathLike[str], output_dir: str) -> TrainConfig | None:
    """The configuration of the run that ``resume`` continues (as ``--resume`` takes it), if parts of it were chosen;
    None if it was configured by hand or has not begun.

    Raises :class:`CheckpointError` if the files that the run wrote are damaged.
    """
    folder = Path(output_dir) if resume == "auto" else Path(resume).parent.parent
    try:
        settings = json.loads((folder / "settings.json").read_bytes())
        values = json.loads((folder / "config.json").read_bytes())
        origins = {name: str(setting["origin"]) for name, setting in settings.items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{folder}: settings.json or config.json cannot be read ({error}). Give the run's settings with --config."
        ) from error
    if not any(origin.startswith(CHOSEN) for origin in origins.values()):
        return None
    config = TrainConfig()
    by_origin: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        origin = origins.get(name, "")
        by_origin.setdefault(origin if _is_automatic(origin) else str(folder / "config.json"), {})[name] = value
    for origin, group in by_origin.items():
        config.update(group, origin)
    return config


def chosen_minutes(config: TrainConfig) -> str:
    """What a configuration was chosen for, such as ``15 minutes``; empty if nothing was chosen."""
    found = (origin for origin in config.origins.values() if origin.startswith(CHOSEN))
    return next(found, "").removeprefix(CHOSEN)


def _is_automatic(origin: str) -> bool:
    return origin.startswith(CHOSEN) or origin in preset_names()
