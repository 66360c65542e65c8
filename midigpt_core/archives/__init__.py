"""Lists and reads the files in zip and tar archives, also in archives inside archives, without extracting them."""

from __future__ import annotations

from midigpt_core.archives.archive import Archive, Listing, Member, Problem, is_archive
from midigpt_core.archives.entries import MemberError
from midigpt_core.archives.kinds import ARCHIVE_SUFFIXES

__all__ = ["ARCHIVE_SUFFIXES", "Archive", "Listing", "Member", "MemberError", "Problem", "is_archive"]
