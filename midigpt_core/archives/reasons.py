"""Why a file in an archive, or an archive, cannot be read: names under which reports count them."""

from __future__ import annotations

ENCRYPTED = "encrypted"
#: Its bytes do not fit its checksum or length, or it overlaps another.
DAMAGED_MEMBER = "damaged_member"
DAMAGED_ARCHIVE = "damaged_archive"
#: Neither stored nor deflated, or a sparse file of a tar.
UNSUPPORTED_MEMBER = "unsupported_member"
#: A link in a tar to a file that is not in it, or to itself.
BROKEN_LINK = "broken_link"
#: The archive inflates to more, or lists more, than its size explains.
ARCHIVE_BOMB = "archive_bomb"
#: More archives inside one another than are opened.
ARCHIVE_TOO_DEEP = "archive_too_deep"
