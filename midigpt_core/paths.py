"""Turns what the user typed into paths: one usable path or, for data sources, a list of files in a stable order."""

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
    from collections import Counter
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import NoReturn


#: The problem with an empty value, for the middle of a message. Shells pass one for a variable that is not set.
EMPTY = "is empty (is a shell variable unset?)"

#: System errors for paths that cannot lead to a file, and what to do about them.
_UNUSABLE = {
    errno.ENAMETOOLONG: "the name is too long for the file system. Use a shorter one.",
    errno.ELOOP: "its links lead back to themselves. Correct them.",
    errno.EACCES: "you may not search a folder in it. Change that folder's permissions, or choose another path.",
}


def path_problem(text: str) -> str:
    """Why the path that the user typed cannot lead to a file, ending with the next action; empty if it can.

    The file need not exist.
    """
    if not text:
        return f"{EMPTY}. Name a file or folder."
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
        # A pattern may be longer than the names that it matches. Other errors are reported when the file is opened.
        if error.errno in _UNUSABLE and not (error.errno == errno.ENAMETOOLONG and glob.has_magic(text)):
            return _UNUSABLE[error.errno]
    return ""


def usable_path(path: str | os.PathLike[str], *, what: str = "", error: type[MidigptError] = DataError) -> Path:
    """The path that a user named; in a string, a leading ``~`` means the home folder.

    Raises ``error``, beginning with ``what`` (``"--plugins-dir"``), if no file can have that name: see
    :func:`path_problem`.
    """
    text = os.fspath(path)
    if text.startswith("~") and not isinstance(path, str):
        text = f"./{text}"  # a Path from a program means the literal name
    problem = path_problem(text)
    if problem:
        raise error(f"{what} {text}".strip() + f": {problem}" if text else f"{what or 'the path'} {problem}")
    return Path(os.path.expanduser(text))  # noqa: PTH111 (as in path_problem)


class FoundFile(NamedTuple):
    """A file, and its name relative to the folder that the user named or in which a pattern starts.

    The name does not depend on where that folder is or how the user spelled it. Bytes that are not UTF-8 are escaped.
    """

    path: Path
    name: str


def find_files(
    paths: Sequence[str],
    suffixes: Collection[str],
    *,
    kind: str,
    hint: str = "",
    skipped: Counter[str] | None = None,
    list_unsearchable: bool = False,
) -> list[FoundFile]:
    """Find each file once, in the order of ``paths``; the files of a folder (searched recursively) or a glob are
    sorted.

    Folders and patterns follow the same rules: links to folders are followed, and names that start with a dot are
    skipped unless the path or pattern contains the dot. ``suffixes`` are lower-case, with their dot, such as
    ``.parquet`` or ``.tar.gz``; a file that is named directly may have any suffix. ``kind`` is what such files are
    called, e.g. ``"parquet"``; ``hint`` is the advice for a folder without such a file.

    ``skipped`` counts the other files of the folders by suffix. With ``list_unsearchable``, a folder below a named one
    that cannot be searched is listed itself, and reading it gives the reason.

    Raises :class:`DataError` if one of ``paths`` matches no file, or if a folder cannot be searched.
    """
    if not paths:
        raise DataError(f"no data: name at least one {kind} file, folder or glob.")
    found: dict[Path, FoundFile] = {}
    rules = _Rules(suffixes, kind, hint, skipped, list_unsearchable)
    try:
        for file in itertools.chain.from_iterable(_expand(path, rules) for path in paths):
            # Unlike Path.resolve, this terminates if links form a loop.
            found.setdefault(Path(os.path.realpath(file.path)), file)
    except OSError as error:
        _refuse(error)
    return list(found.values())


class _Rules(NamedTuple):
    """The arguments of :func:`find_files` that hold for every path."""

    suffixes: Collection[str]
    kind: str
    hint: str
    skipped: Counter[str] | None
    list_unsearchable: bool


def _expand(path: str, rules: _Rules) -> list[FoundFile]:
    suffixes, kind = rules.suffixes, rules.kind
    # A file name that contains glob characters is taken literally.
    literal = usable_path(path)
    if literal.is_file():
        return [FoundFile(literal, readable_name(literal.name))]
    if literal.is_dir():
        unsearchable: list[Path] = []

        def note(error: OSError) -> None:
            if not rules.list_unsearchable or Path(error.filename) == literal:
                _refuse(error)
            unsearchable.append(Path(error.filename))

        files: list[Path] = []
        others: list[Path] = []
        for file in _below(literal, onerror=note):
            (files if _has_suffix(file, suffixes) else others).append(file)
        files = sorted([*files, *unsearchable])
        if not files:
            endings = ", ".join(sorted(suffixes))
            raise DataError(
                f"{path}: no {kind} file ({endings}) in this folder or below. {rules.hint or 'Check the path.'}"
            )
        if rules.skipped is not None:
            rules.skipped.update(file.suffix.lower() for file in others)
        return [FoundFile(file, readable_name(file.relative_to(literal))) for file in files]
    if glob.has_magic(path):
        start, pattern = _split(literal)
        files = sorted(_under_real_names([*_matching(start, pattern)], start))
        if not files:
            # Path.glob rejects patterns that glob and this module accept.
            if any(Path(found).is_dir() for found in glob.iglob(os.fspath(literal))):  # noqa: PTH207
                raise DataError(
                    f"{path}: this pattern matches folders and no file. Write {path.rstrip('/')}/** for the files in "
                    "them."
                )
            raise DataError(f"{path}: nothing matches this pattern. Check the path, and quote it in the shell.")
        # A pattern that matches files with the suffixes means those; otherwise it names files with other suffixes on
        # purpose.
        called_so = [file for file in files if _has_suffix(file, suffixes)]
        return [FoundFile(file, readable_name(file.relative_to(start))) for file in called_so or files]
    if literal.exists():
        raise DataError(f"{path}: is neither a regular file nor a folder. Name a {kind} file or a folder.")
    raise DataError(f"{path}: no such file or folder. Check the path.")


def _has_suffix(file: Path, suffixes: Collection[str]) -> bool:
    return any(file.name.lower().endswith(suffix) and len(file.name) > len(suffix) for suffix in suffixes)


def names_at(path: str) -> Iterator[str]:
    """Names of the files that :func:`find_files` would look at for ``path``; none if nothing is there.

    Folders that may not be searched are passed over, and the files themselves are not touched.
    """
    literal = usable_path(path)
    if literal.is_dir():
        for _, names in _walk(literal):
            yield from names
    elif literal.is_file():
        yield literal.name
    elif glob.has_magic(path):
        yield from (file.name for file in _matching(*_split(literal)))


def _split(pattern: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder that a pattern starts in, and the parts that are matched below it."""
    parts = pattern.parts
    first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first]), parts[first:]


def _matching(folder: Path, pattern: tuple[str, ...]) -> Iterator[Path]:
    """The files below ``folder`` that match, part by part; ``**`` is any number of folders.

    It does not use :mod:`glob`, which follows loops of links and silently skips folders that it may not read.
    """
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        hidden = any(part.startswith(".") for part in rest)
        for file in _below(folder, hidden=hidden):
            if matches_pattern(file.relative_to(folder).parts, pattern):
                yield file
    elif not glob.has_magic(head):
        yield from _continue(folder / head, rest)
    elif folder.is_dir():
        for path in sorted(folder.iterdir()):
            if matches_pattern((path.name,), (head,)):
                yield from _continue(path, rest)


def _under_real_names(files: Sequence[Path], start: Path) -> Iterator[Path]:
    """The files of each folder once, under the folder's path without links if it was found by one, as in
    :func:`_below`."""
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


def matches_pattern(names: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether a path matches a pattern, both in parts; ``**`` is any number of folders, and at the end any file."""
    if not pattern:
        return not names
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        # At the end of a pattern, ** matches any file.
        if (
            names
            and not _is_hidden(names[0])
            and (matches_pattern(names[1:], pattern) or (len(names) == 1 and not rest))
        ):
            return True
        return bool(rest) and matches_pattern(names, rest)
    if not names or (_is_hidden(names[0]) and not _is_hidden(head)):
        return False
    return fnmatch.fnmatchcase(names[0], head) and matches_pattern(names[1:], rest)


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _below(folder: Path, *, hidden: bool = False, onerror: Callable[[OSError], object] | None = None) -> Iterator[Path]:
    """All files below a folder; ``hidden``: also files whose name, or a folder's name, starts with a dot."""
    for parent, names in _walk(folder, hidden=hidden, onerror=onerror or _refuse):
        yield from (file for name in names if _may_be_read(file := parent / name))


def _walk(
    folder: Path, *, hidden: bool = False, onerror: Callable[[OSError], object] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """A folder and all folders below it, each with the names of what is in it apart from folders.

    Each folder is visited once, under its path without links if it was found by one: links may form a loop.
    """
    seen: set[tuple[int, int]] = set()
    starts = [folder]
    # The loop appends the links that it finds.
    for start in starts:
        for name, folders, names in os.walk(start, onerror=onerror):
            parent = Path(name)
            try:
                status = parent.stat()
            except OSError as error:  # the folder was removed meanwhile
                folders.clear()
                if onerror is not None:
                    onerror(error)
                continue
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if hidden or not _is_hidden(name))
            starts += [path for name in folders if (path := parent / name).is_symlink()]
            yield parent, [name for name in names if hidden or not _is_hidden(name)]


def _may_be_read(path: Path) -> bool:
    """Whether ``path`` is a file or a broken link, which is reported when it is read; not a folder, pipe or device."""
    return path.is_file() or not path.exists()


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: cannot be searched ({error.strerror}). Check its permissions.") from error
