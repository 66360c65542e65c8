"""Finds the format of a bundle and reads its header, without reading a tensor or importing torch.

A format is chosen by the path: its suffix or, for a folder or an unusual name, by what the format itself recognises.
Formats are components; this module knows none of them.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import attrs

from midigpt_core.contracts import BundleHeader, FormatContext, HeaderReader
from midigpt_core.errors import CheckpointError
from midigpt_core.kinds import Kind
from midigpt_core.paths import usable_path
from midigpt_core.plugins import Provided, build, current_registry
from midigpt_core.plugins.faults import faults_named

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from midigpt_core.components import CheckpointFormatSpec


def read_header(path: str | os.PathLike[str]) -> BundleHeader:
    """What the bundle at ``path`` is, without loading a tensor or building a component."""
    source = usable_path(path, what="bundle", error=CheckpointError)
    with os_errors_explained(source):
        found = find_format(source)
        with faults_named((found.ref(),), lambda: f"reading {source}", system=False):
            return header_reader(found).read_header(source)


def format_name_of(path: str | os.PathLike[str]) -> str:
    """The name of the format of an existing bundle."""
    source = usable_path(path, what="bundle", error=CheckpointError)
    with os_errors_explained(source):
        return find_format(source).spec.name


def size_on_disk(path: str | os.PathLike[str]) -> int:
    """The bytes of a bundle: those of its file, or of the files in its folder."""
    source = usable_path(path, what="bundle", error=CheckpointError)
    files = [item for item in source.iterdir() if item.is_file()] if source.is_dir() else [source]
    return sum(item.stat().st_size for item in files)


def find_format(path: Path, *, allow_unsafe: bool = False) -> Provided:
    """The format of an existing bundle: of those that recognise the path, one that owns the suffix comes first."""
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file or folder. Check the path.")
    candidates = [
        provided
        for provided in formats()
        if spec_of(provided).is_dir == path.is_dir() and (allow_unsafe or not spec_of(provided).unsafe)
    ]
    candidates.sort(key=lambda provided: path.suffix not in spec_of(provided).suffixes)
    for provided in candidates:
        with faults_named((provided.ref(),), lambda: f"is {path} of this format", system=False):
            is_match = header_reader(provided, allow_unsafe=allow_unsafe).matches(path)
        if is_match:
            return provided
    names = ", ".join(provided.spec.name for provided in candidates) or "none"
    what = "folder" if path.is_dir() else "file"
    inside = _bundle_inside(path)
    action = "Check the path." if inside is None else f"Name the bundle in it: {inside}."
    raise CheckpointError(f"{path}: not a bundle of any format for a {what} (tried: {names}). {action}")


def _bundle_inside(folder: Path) -> Path | None:
    """A file in the folder with the suffix of a bundle: a user who names a run's folder means its bundle."""
    suffixes = {
        suffix for provided in formats() if not spec_of(provided).is_dir for suffix in spec_of(provided).suffixes
    }
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    return next((path for path in inside if path.suffix in suffixes and path.is_file()), None)


def formats() -> tuple[Provided, ...]:
    """Every checkpoint format."""
    return current_registry().provided(Kind.CHECKPOINT_FORMAT)


def spec_of(provided: Provided) -> CheckpointFormatSpec:
    return cast("CheckpointFormatSpec", provided.spec)


def header_reader(provided: Provided, *, allow_unsafe: bool = False) -> HeaderReader:
    """What reads the headers of a format: its light reader if it has one, else the format itself."""
    ref = provided.ref()
    ref = attrs.evolve(ref, target=spec_of(provided).headers or ref.target)
    return cast("HeaderReader", build(ref, FormatContext(allow_unsafe=allow_unsafe)))


@contextmanager
def os_errors_explained(path: Path) -> Iterator[None]:
    """Turn system errors from reading ``path`` into :class:`midigpt_core.errors.CheckpointError`."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}). Check the path.") from error
