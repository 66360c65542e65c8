"""What was computed from a shard and is kept in its folder: read back only if it is whole, else computed again."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import xxhash

from midigpt_core import files

if TYPE_CHECKING:
    from pathlib import Path

# Length of the XXH3 before the content of a file.
_CHECKSUM_BYTES = 8


def remember(path: Path, content: bytes) -> None:
    """Write ``content`` and its checksum, if the folder can be written: a corpus in a folder that is shared and
    read-only can still be used for training."""
    with contextlib.suppress(files.WriteError, OSError):
        files.remove_leftovers(path.parent)
        files.write_bytes(path, xxhash.xxh3_64_digest(content) + content)


def stored_bytes(size: int) -> int:
    """Bytes of a file with a content of ``size`` bytes."""
    return _CHECKSUM_BYTES + size


def recall(path: Path, size: int) -> memoryview | None:
    """The content of ``size`` bytes that :func:`remember` wrote; None if there is none, or a damaged one."""
    try:
        content = memoryview(path.read_bytes())
    except OSError:
        return None
    checksum, content = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    if len(content) != size or xxhash.xxh3_64_digest(content) != checksum:
        return None
    return content
