"""Which data source reads some paths, told from the files that they lead to."""

from __future__ import annotations

import os
from collections import Counter
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING

from midigpt_core.components import SourceSpec
from midigpt_core.errors import DataError
from midigpt_core.kinds import Kind
from midigpt_core.paths import names_at, usable_path
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midigpt_core.plugins import Registry

#: The source of paths that no source's record matches: it reports what is wrong with them.
FALLBACK = "gigamidi"

#: Names of a folder that are looked at: a folder of millions of files is told by its first ones.
_MOST_NAMES = 200_000
_MOST_KINDS = 5
_SCHEME = "://"


def detect_source(registry: Registry, paths: Sequence[str]) -> str:
    """The data source that reads ``paths`` (files, folders, globs, addresses), by the endings and schemes in the
    sources' records; :data:`FALLBACK` if nothing is there.

    Raises :class:`DataError` if several sources would each read some of the files, or if there are only files that no
    source reads, or only empty folders.
    """
    read: dict[str, Counter[str]] = {}
    others: Counter[str] = Counter()
    specs = _specs(registry)
    for path in paths:
        for ending, name in _read_by(path, specs):
            if name is None:
                others[ending] += 1
            else:
                read.setdefault(name, Counter())[ending] += 1
    if len(read) > 1:
        kinds = " and ".join(f"{_counted(endings)} for {name!r}" for name, endings in sorted(read.items()))
        raise DataError(
            f"{_named(paths)}: files of several data sources: {kinds}. Name one source (--source NAME), or only the "
            "files of one."
        )
    if not read and (others or all(map(_is_empty_folder, paths))):
        endings = ", ".join(sorted({suffix for _, spec in specs for suffix in spec.suffixes}))
        found = (
            f", only {_counted(others)}. Check the path, or name the source (--source NAME)."
            if others
            else (" in this folder or below. Check the path.")
        )
        raise DataError(f"{_named(paths)}: no file that a data source reads ({endings}){found}")
    return next(iter(read), FALLBACK)


def is_music(registry: Registry, path: str) -> bool:
    """Whether a data source reads some of the files that ``path`` leads to, by their names."""
    return any(name is not None for _, name in _read_by(path, _specs(registry)))


def _is_empty_folder(path: str) -> bool:
    """Whether nothing but folders is in a folder, and all of them can be searched."""
    folder = usable_path(path)
    unsearchable: list[OSError] = []
    if not folder.is_dir() or any(names for _, _, names in os.walk(folder, onerror=unsearchable.append)):
        return False
    return not unsearchable


def _specs(registry: Registry) -> list[tuple[str, SourceSpec]]:
    """The sources by the name that finds them."""
    found = []
    for item in registry.provided(Kind.SOURCE):
        if isinstance(item.spec, SourceSpec):
            found.append((item.spec.name if item.plugin.is_bundled else item.qualified_name, item.spec))
    return found


def _read_by(path: str, specs: Sequence[tuple[str, SourceSpec]]) -> Iterator[tuple[str, str | None]]:
    """The ending of every file at ``path``, and the source that reads it; None: none does."""
    scheme, is_address, _ = path.partition(_SCHEME)
    if is_address:
        for name, spec in specs:
            if scheme in spec.schemes:
                yield f"{scheme}{_SCHEME}", name
                return
    for file in islice(names_at(path), _MOST_NAMES):
        lower = file.lower()
        # The longest ending decides: .tar.gz before .gz. Of two sources, the first in the registry's order.
        matches = [(suffix, name) for name, spec in specs for suffix in spec.suffixes if lower.endswith(suffix)]
        yield max(matches, key=lambda match: len(match[0])) if matches else (_ending(file), None)


def _ending(name: str) -> str:
    return PurePath(name).suffix.lower() or "without an ending"


def _counted(endings: Counter[str]) -> str:
    """``3 .mid, 1 .kar``"""
    listed = [f"{count:,} {printable(ending, 18)}" for ending, count in endings.most_common(_MOST_KINDS)]
    left = len(endings) - len(listed)
    return ", ".join(listed) + (f" and {left} more kinds" if left > 0 else "")


def _named(paths: Sequence[str]) -> str:
    return printable(paths[0]) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
