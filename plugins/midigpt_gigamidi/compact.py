"""Thrift's compact protocol, in which parquet's footer and the headers of its pages are written."""

from __future__ import annotations

from typing import Any

#: Types of fields and of a list's items; the other ones are integers.
TRUE, FALSE, BYTE, DOUBLE, BINARY, STRUCT = 1, 2, 3, 7, 8, 12
INTEGERS = (4, 5, 6)
LISTS = (9, 10)

_DEEPEST = 16


class Compact:
    """Reads values from ``content``. Raises IndexError if the bytes end too early, ValueError for damage."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        #: Position of the next byte.
        self.at = 0

    @property
    def left(self) -> int:
        """How many bytes follow."""
        return len(self._content) - self.at

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The fields of a structure by number: integers and truth values, None for text, structures. It has no list."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self.field(number, depth):
            number, kind = head
            fields[number] = self._value(kind, depth)
        return fields

    def field(self, last: int, depth: int) -> tuple[int, int] | None:
        """Number and type of a structure's next field after the field ``last``; None at its end."""
        _check_depth(depth)
        head = self.byte()
        if not head:
            return None
        return last + (head >> 4) if head >> 4 else self.integer(), head & 15

    def items(self, depth: int) -> tuple[int, int]:
        """The number of items of the next list, and their type."""
        _check_depth(depth)
        head = self.byte()
        return head >> 4 if head >> 4 < 15 else self._varint(), head & 15

    def text(self) -> int:
        """Skip text; returns its length in bytes."""
        length = self._varint()
        self.skip(length)
        return length

    def integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def byte(self) -> int:
        value = self._content[self.at]
        self.at += 1
        return value

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._content):
            raise IndexError(self.at)

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (TRUE, FALSE):
            return kind == TRUE
        if kind == BYTE:
            return self.byte()
        if kind in INTEGERS:
            return self.integer()
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind == BINARY:
            self.text()
        elif kind == DOUBLE:
            self.skip(8)
        else:
            raise ValueError(f"a field of type {kind}")
        return None

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self.byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a number too long")
        return value | byte << shift


def _check_depth(depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError("structures too deep within one another")
