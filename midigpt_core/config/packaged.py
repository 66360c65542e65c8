"""Configurations that come with the package, by name: ``--config laptop``."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "presets"
_SUFFIX = ".yaml"


def preset_names() -> tuple[str, ...]:
    """The names, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob(f"*{_SUFFIX}")))


def preset_file(name: str) -> Path | None:
    """The file of a preset; None if there is no preset of that name."""
    return _FOLDER / f"{name}{_SUFFIX}" if name in preset_names() else None


def preset_summary(name: str) -> str:
    """What a preset is for: the comment on the first line of its file."""
    with (_FOLDER / f"{name}{_SUFFIX}").open(encoding="utf-8") as lines:
        return lines.readline().lstrip("# ").strip()
