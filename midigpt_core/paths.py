"""From what the user typed to paths: one that can be used, or for data sources a list of files in a stable order."""

from __future__ import annotations

import errno
import fnmatch
import glob
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from midigpt_core.errors import DataError, MidigptError, readable_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import NoReturn


#: What the system says of names under which no file can be reached, and what to do about them.
_UNUSABLE = {
    errno.ENAMETOOLONG: "the name is too long for the file system. Use a shorter one.",
    errno.ELOOP: "its links lead back to themselves. Correct them.",
    errno.EACCES: "you may not search a folder in it. Change that folder's permissions, or choose another path.",
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


class FoundFile(NamedTuple):
    """A file, and its name: below the folder that the user named, or the one in which a pattern starts.

    The name is the same wherever that folder lies and however it is named. Bytes that are no UTF-8 are escaped.
    """

    path: Path
    name: str


def find_files(paths: Sequence[str], suffixes: Collection[str], *, kind: str, hint: str = "") -> list[FoundFile]:
    """Every file once, in the order of ``paths``; what a folder (searched recursively) or a glob gives is sorted.

    Folders and patterns follow the same rules: links to folders are followed, and names that start with a dot are left
    out unless the path or pattern writes the dot. ``suffixes`` are lower-case, with their dot; a file that is named by
    itself may have any. ``kind`` is what such files are called, e.g. ``"parquet"``; ``hint`` is the advice about a
    folder without one.

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
        return [FoundFile(literal, readable_name(literal.name))]
    if literal.is_dir():
        files = [file for file in sorted(_below(literal)) if file.suffix.lower() in suffixes]
        if not files:
            endings = ", ".join(sorted(suffixes))
            raise DataError(f"{path}: no {kind} file ({endings}) in this folder or below. {hint or 'Check the path.'}")
        return [FoundFile(file, readable_name(file.relative_to(literal))) for file in files]
    if glob.has_magic(path):
        start, pattern = _split(literal)
        files = sorted(_under_real_names([*_matching(start, pattern)], start))
        if not files:
            # Path.glob refuses patterns that glob, and this module, take.
            if any(Path(found).is_dir() for found in glob.iglob(os.fspath(literal))):  # noqa: PTH207
                raise DataError(
                    f"{path}: this pattern matches folders and no file. Write {path.rstrip('/')}/** for the files in "
                    "them."
                )
            raise DataError(f"{path}: nothing matches this pattern. Check the path, and quote it in the shell.")
        # Whoever leaves the suffix to the pattern means all that are called so, and a pattern may mean other names.
        called_so = [file for file in files if file.suffix.lower() in suffixes]
        return [FoundFile(file, readable_name(file.relative_to(start))) for file in called_so or files]
    if literal.exists():
        raise DataError(f"{path}: is neither a regular file nor a folder. Name a {kind} file or a folder.")
    raise DataError(f"{path}: no such file or folder. Check the path.")


def _split(pattern: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder that a pattern starts in, and the parts that are matched below it."""
    parts = pattern.parts
    first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first]), parts[first:]


def _matching(folder: Path, pattern: tuple[str, ...]) -> Iterator[Path]:
    """The files below ``folder`` that match, part by part; ``**`` is any number of folders.

    Not by :mod:`glob`, which goes round links that form a circle, and passes over folders that it may not read.
    """
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        hidden = any(part.startswith(".") for part in rest)
        for file in _below(folder, hidden=hidden):
            if _matches(file.relative_to(folder).parts, pattern):
                yield file
    elif not glob.has_magic(head):
        yield from _continue(folder / head, rest)
    elif folder.is_dir():
        for path in sorted(folder.iterdir()):
            if _matches((path.name,), (head,)):
                yield from _continue(path, rest)


def _under_real_names(files: Sequence[Path], start: Path) -> Iterator[Path]:
    """The files of each folder once, under the name without links if the folder has one, as in :func:`_below`."""
    real = {parent: os.path.realpath(parent) for parent in {file.parent for file in files}}
    root = Path(os.path.realpath(start))
    plain = {parent: os.path.normpath(root / parent.relative_to(start)) for parent in real}
    chosen: dict[str, Path] = {}
    for parent in sorted(real, key=lambda parent: (real[parent] != plain[parent], parent)):
        chosen.setdefault(real[parent], parent)
    return (file for file in files if chosen[real[file.parent]] == file.parent)


def _continue(path: Path, rest: tuple[str, ...]) -> Iterator[Path]:
    if rest:
        if path.is_dir():
            yield from _matching(path, rest)
    elif _may_be_read(path) and os.path.lexists(path):
        yield path


def _matches(names: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not names
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        # Alone at the end it is any file.
        if names and not _is_hidden(names[0]) and (_matches(names[1:], pattern) or (len(names) == 1 and not rest)):
            return True
        return bool(rest) and _matches(names, rest)
    if not names or (_is_hidden(names[0]) and not _is_hidden(head)):
        return False
    return fnmatch.fnmatchcase(names[0], head) and _matches(names[1:], rest)


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _below(folder: Path, *, hidden: bool = False) -> Iterator[Path]:
    """All files but, unless ``hidden``, those with a dot before their name or a folder's.

    Each folder once, under the name without links if it has one: links may form a circle.
    """
    seen: set[tuple[int, int]] = set()
    starts = [folder]
    # Links that are found on the way are appended.
    for start in starts:
        for name, folders, names in os.walk(start, onerror=_refuse):
            parent = Path(name)
            status = parent.stat()
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if hidden or not _is_hidden(name))
            starts += [path for name in folders if (path := parent / name).is_symlink()]
            visible = (parent / name for name in names if hidden or not _is_hidden(name))
            yield from (file for file in visible if _may_be_read(file))


def _may_be_read(path: Path) -> bool:
    """A file, or a link that leads nowhere: whoever reads it says so. No folder, pipe or device."""
    return path.is_file() or not path.exists()


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: cannot be searched ({error.strerror}). Check its permissions.") from error
