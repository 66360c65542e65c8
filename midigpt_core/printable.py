"""Text as one line that cannot control a terminal."""

from __future__ import annotations

#: Characters that Python substitutes for non-UTF-8 bytes in file names and arguments (PEP 383).
_ESCAPED_BYTES = range(0xDC80, 0xDD00)


def printable(text: object, limit: int | None = 200) -> str:
    """``text`` as one line for a terminal: none of its characters moves the cursor, ends the line, changes colours or
    the direction of writing. Text longer than ``limit`` characters (None: no limit) is cut.

    Everything that is printed or logged goes through this function, by :mod:`midigpt_core.cli.echo` or
    :func:`midigpt_core.terminal.logger`.
    """
    line = str(text)
    if limit is not None:
        line = line[: 2 * limit]
    if not line.isprintable():
        line = "".join(map(_shown, line))
    return line if limit is None or len(line) <= limit else line[: limit - 1] + "…"


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    # Show bytes as such, so that a file name stays recognisable.
    return f"\\x{ord(character) - 0xDC00:02x}" if ord(character) in _ESCAPED_BYTES else " "
