"""Tells kinds of archive by the names and by the first bytes of files."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class ArchiveKind(Enum):
    ZIP = "zip"
    TAR = "tar"
    #: A tar compressed with gzip.
    TAR_GZ = "tar.gz"


_BY_SUFFIX: Mapping[str, ArchiveKind] = {
    ".zip": ArchiveKind.ZIP,
    ".tar": ArchiveKind.TAR,
    ".tar.gz": ArchiveKind.TAR_GZ,
    ".tgz": ArchiveKind.TAR_GZ,
}
#: Endings of archives' names, lower-case.
ARCHIVE_SUFFIXES = frozenset(_BY_SUFFIX)

#: How many bytes of a file :func:`kind_of` needs.
HEAD_BYTES = 512
_TAR_MAGIC = slice(257, 262)


def kind_of_name(name: str) -> ArchiveKind | None:
    """The kind that a file of this name should be; None: no archive."""
    lower = name.lower()
    return next((kind for suffix, kind in _BY_SUFFIX.items() if lower.endswith(suffix)), None)


def kind_of(head: bytes) -> ArchiveKind | None:
    """The kind of a file by its first :data:`HEAD_BYTES` bytes; None: no archive."""
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return ArchiveKind.ZIP
    if head[:3] == b"\x1f\x8b\x08":
        return ArchiveKind.TAR_GZ
    return ArchiveKind.TAR if head[_TAR_MAGIC] == b"ustar" else None
