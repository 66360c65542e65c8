"""From what the user typed (files, folders, globs) to a list of parquet files in a stable order."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING

from midigpt_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUFFIX = ".parquet"


def find_files(paths: Sequence[str]) -> list[Path]:
    """Every file once, in the order of ``paths``; what a folder (searched recursively) or glob gives is sorted.

    Raises :class:`DataError` if one of ``paths`` leads to no file.
    """
    if not paths:
        raise DataError("no data: name at least one parquet file, folder or glob.")
    found: dict[Path, Path] = {}
    for path in paths:
        for file in _expand(path):
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _expand(path: str) -> list[Path]:
    # A file whose name holds glob characters is still that file.
    literal = Path(path).expanduser()
    if literal.is_file():
        return [literal]
    if literal.is_dir():
        files = sorted(file for file in literal.rglob(f"*{_SUFFIX}") if file.is_file())
        if not files:
            raise DataError(
                f"{path}: no {_SUFFIX} file in this folder. Name the folder that holds the shards, or read a folder of "
                "MIDI files with --plugin midifiles."
            )
        return files
    if glob.has_magic(path):
        # Path.glob takes no absolute pattern.
        matches = (Path(match) for match in glob.glob(str(literal), recursive=True))  # noqa: PTH207
        files = sorted(match for match in matches if match.is_file())
        if not files:
            raise DataError(f"{path}: nothing matches this pattern. Check the path, and quote it in the shell.")
        return files
    raise DataError(f"{path}: no such file or folder. Check the path.")
