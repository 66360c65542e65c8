"""From what the user typed to paths: one that can be used, or for data sources a list of files in a stable order."""

from __future__ import annotations

import errno
import glob
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from midigpt_core.errors import DataError, MidigptError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import NoReturn


#: What the system says of names that no file can have, and what to do about them.
_UNUSABLE = {
    errno.ENAMETOOLONG: "the name is too long for the file system. Use a shorter one.",
    errno.ELOOP: "its links lead back to themselves. Correct them.",
}


def path_problem(text: str) -> str:
    """Why no file can be reached by the path that the user typed, ending with the next action; empty if one may be.

    The file need not exist.
    """
    if not text:
        return "is empty, as an unset variable of the shell is. Name a file or folder."
    if "\0" in text:
        return "holds a NUL character, which no file name can. Check the name."
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return "holds a character that no file name can. Check the name."
    expanded = os.path.expanduser(text)  # noqa: PTH111 (Path drops the "./" that keeps "~old" a name)
    if expanded == text and text.startswith("~"):
        user = text.partition("/")[0]
        return f"{user} is the home folder of no user. Write ./{text} for a file or folder of that name."
    try:
        os.stat(expanded)  # noqa: PTH116 (as above)
    except OSError as error:
        # A pattern may be longer than what it matches. Any other error is left to whoever opens the file.
        if error.errno in _UNUSABLE and not (error.errno == errno.ENAMETOOLONG and glob.has_magic(text)):
            return _UNUSABLE[error.errno]
    return ""


def usable_path(path: str | os.PathLike[str], *, what: str = "", error: type[MidigptError] = DataError) -> Path:
    """The path that a user named; in text ``~`` is the home folder.

    Raises ``error``, beginning with ``what`` (``"--plugins-dir"``), if no file can have that name: see
    :func:`path_problem`.
    """
    text = os.fspath(path)
    if text.startswith("~") and not isinstance(path, str):
        text = f"./{text}"  # a program that has made a Path of it means that name
    problem = path_problem(text)
    if problem:
        raise error(f"{what} {text}".strip() + f": {problem}" if text else f"{what or 'the path'} {problem}")
    return Path(os.path.expanduser(text))  # noqa: PTH111 (as in path_problem)


@frozen
class FoundFile:
    """A file, and its name for people: below the folder that the user named."""

    path: Path
    name: str


def find_files(paths: Sequence[str], suffixes: Collection[str], *, kind: str, hint: str = "") -> list[FoundFile]:
    """Every file once, in the order of ``paths``; what a folder (searched recursively) or a glob gives is sorted.

    ``suffixes`` are lower-case, with their dot; a file that is named by itself may have any. ``kind`` is what such
    files are called, e.g. ``"parquet"``; ``hint`` is the advice about a folder without one.

    Raises :class:`DataError` if one of ``paths`` leads to no file, or if a folder cannot be searched.
    """
    if not paths:
        raise DataError(f"no data: name at least one {kind} file, folder or glob.")
    found: dict[Path, FoundFile] = {}
    try:
        for file in itertools.chain.from_iterable(_expand(path, suffixes, kind, hint) for path in paths):
            # Unlike Path.resolve, this ends on links that lead back to themselves.
            found.setdefault(Path(os.path.realpath(file.path)), file)
    except OSError as error:
        _refuse(error)
    return list(found.values())


def _expand(path: str, suffixes: Collection[str], kind: str, hint: str) -> list[FoundFile]:
    # A file whose name holds glob characters is still that file.
    literal = usable_path(path)
    if literal.is_file():
        return [FoundFile(literal, literal.name)]
    if literal.is_dir():
        files = [file for file in sorted(_below(literal)) if file.suffix.lower() in suffixes]
        if not files:
            endings = ", ".join(sorted(suffixes))
            raise DataError(f"{path}: no {kind} file ({endings}) in this folder or below. {hint or 'Check the path.'}")
        return [FoundFile(file, str(file.relative_to(literal))) for file in files]
    if glob.has_magic(path):
        # Path.glob takes no absolute pattern.
        matches = (Path(match) for match in glob.glob(str(literal), recursive=True))  # noqa: PTH207
        files = sorted(match for match in matches if _may_be_read(match))
        if not files:
            raise DataError(f"{path}: nothing matches this pattern. Check the path, and quote it in the shell.")
        # Whoever leaves the suffix to the pattern means all that are called so, and a pattern may mean other names.
        called_so = [file for file in files if file.suffix.lower() in suffixes]
        return [FoundFile(file, str(file)) for file in called_so or files]
    raise DataError(f"{path}: no such file or folder. Check the path.")


def _below(folder: Path) -> Iterator[Path]:
    """All files. Links to folders are not followed."""
    for parent, _, names in os.walk(folder, onerror=_refuse):
        yield from (file for name in names if _may_be_read(file := Path(parent, name)))


def _may_be_read(path: Path) -> bool:
    """A file, or a link that leads nowhere: whoever reads it says so. No folder, pipe or device."""
    return path.is_file() or not path.exists()


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: cannot be searched ({error.strerror}). Check its permissions.") from error
