"""A share of a source's shards, for machines that do not know of one another, such as the tasks of a SLURM array."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    _T = TypeVar("_T")

_WRITTEN = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@frozen
class Part:
    """Part ``number`` of ``parts``, counted from 1, as ``3/16``."""

    number: int
    parts: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Raises ValueError that says what is wrong with the text, and what to write."""
        written = _WRITTEN.fullmatch(text)
        if written is None:
            raise ValueError(f"{text!r} is not a part. Write it as 3/16: the third of sixteen")
        number, parts = int(written[1]), int(written[2])
        if not 1 <= number <= parts:
            raise ValueError(f"{text}: parts are counted from 1 to the number of parts. Write 1/4 to 4/4 for four")
        return cls(number, parts)

    def of(self, items: Sequence[_T]) -> Sequence[_T]:
        """The items of this part: every ``parts``-th one. Each item belongs to exactly one part."""
        return items[self.number - 1 :: self.parts]

    def __str__(self) -> str:
        return f"{self.number}/{self.parts}"
