"""HTML for values from the files of a run. Every text is escaped here, and nowhere else."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

#: The longest text of a cell, in characters, and the most rows of a table.
_LONGEST, _MOST_ROWS = 2_000, 400


def text(value: Any) -> str:
    """Any value as escaped text of one line; a float with five digits, a large integer in groups of three."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return escape(f"{value:,}" if abs(value) < 10**30 else "a huge number")
    if isinstance(value, float):
        return escape(f"{value:.5g}")
    if isinstance(value, str):
        return escape(printable(value, _LONGEST)) or "–"
    if not value:
        return "–"
    try:
        written = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return "…"
    return escape(printable(written, _LONGEST))


def table(
    header: Sequence[str], rows: Iterable[Sequence[Any]], *, numeric: Sequence[int] = (), classes: Sequence[str] = ()
) -> str:
    """A table of any values. Columns in ``numeric`` are aligned at the right; ``classes`` are those of the rows."""

    def cells(tag: str, values: Iterable[str]) -> str:
        parts = (
            f"<{tag}{' class=n' if place in numeric else ''}>{value}</{tag}>" for place, value in enumerate(values)
        )
        return "".join(parts)

    listed = list(rows)
    body = "".join(
        f'<tr class="{classes[place]}">{cells("td", map(text, row))}</tr>'
        if place < len(classes) and classes[place]
        else f"<tr>{cells('td', map(text, row))}</tr>"
        for place, row in enumerate(listed[:_MOST_ROWS])
    )
    more = f"<p class=note>{len(listed) - _MOST_ROWS:,} more rows.</p>" if len(listed) > _MOST_ROWS else ""
    head = f"<thead><tr>{cells('th', map(escape, header))}</tr></thead>"
    return f"<div class=wide><table>{head}<tbody>{body}</tbody></table></div>{more}"


def pairs(values: Iterable[tuple[str, Any]]) -> str:
    """Names and values, one under another."""
    rows = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in values)
    return f"<dl>{rows}</dl>"


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted names and values, two levels deep."""
    for name, value in values.items():
        if isinstance(value, dict) and value and prefix.count(".") < 2:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
