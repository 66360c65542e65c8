"""Finds the SoundFont bank that music is played with."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from midigpt_core import files
from midigpt_core.errors import ConfigError
from midigpt_core.paths import usable_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Environment variable that names a bank.
VARIABLE = "MIDIGPT_SOUNDFONT"
#: Where systems keep banks: Debian and Ubuntu, Fedora and Arch, Homebrew, a user's own on Linux and macOS.
FOLDERS = (
    "~/.local/share/soundfonts",
    "~/.local/share/sounds/sf2",
    "~/Library/Audio/Sounds/Banks",
    "/usr/share/sounds/sf2",
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
)
#: A package of the Python index whose wheel has a bank, and the bank in it.
_PACKAGE, _IN_PACKAGE = "pretty_midi", "TimGM6mb.sf2"
_SUFFIXES = (".sf2", ".sf3")
_GET_ONE = (
    "Install one (Debian, Ubuntu: 'apt install timgm6mb-soundfont'; anywhere: 'pip install pretty_midi', which "
    "contains one), or name an .sf2 or .sf3 file"
)


def sound_bank(given: str | None = None, *, option: str = "soundfont") -> Path:
    """The bank to play with: ``given``, else the one named in ``MIDIGPT_SOUNDFONT``, else one that the system has.

    ``option`` is what the user calls ``given``, for messages. Raises :class:`ConfigError` if there is no bank, or if
    the named file is none.
    """
    for name, origin in ((given, option), (os.environ.get(VARIABLE), VARIABLE)):
        if name:
            path = usable_path(name, what=origin, error=ConfigError)
            _require_bank(path, origin)
            return path
    for path in _installed():
        if _is_bank(path):
            return path
    raise ConfigError(f"no sound bank was found on this machine. {_GET_ONE} with {option} or in {VARIABLE}.")


def _installed() -> Iterator[Path]:
    """Banks of the system, the best guess first, then the bank of the Python package."""
    for folder in FOLDERS:
        yield from _in_order(_listed(Path(folder).expanduser()))
    spec = find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        yield Path(folder) / _IN_PACKAGE


def _listed(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES]
    except (OSError, RuntimeError):  # not there, not allowed, or no home folder
        return []


def _in_order(banks: Iterable[Path]) -> list[Path]:
    """The system's default first; banks that only add to another, such as ``FluidR3_GS``, last."""

    def rank(bank: Path) -> tuple[bool, bool, Path]:
        name = bank.stem.lower()
        return not name.startswith("default"), name.endswith("_gs"), bank

    return sorted(banks, key=rank)


def _require_bank(path: Path, origin: str) -> None:
    try:
        if not _starts_as_bank(path):
            raise ConfigError(
                f"{origin} {path}: is not a SoundFont bank, or cut off. Name an .sf2 or .sf3 file, or leave "
                f"{origin} out."
            )
    except OSError as error:
        raise ConfigError(
            f"{origin} {path}: cannot be read ({error.strerror}). Name an .sf2 or .sf3 file, or leave {origin} out."
        ) from error


def _is_bank(path: Path) -> bool:
    try:
        return _starts_as_bank(path)
    except OSError:
        return False


def _starts_as_bank(path: Path) -> bool:
    with files.open_regular(path) as stream:
        start = stream.read(12)
        is_whole = stream.seek(0, os.SEEK_END) >= 8 + int.from_bytes(start[4:8], "little")
    return start[:4] == b"RIFF" and start[8:12] == b"sfbk" and is_whole
