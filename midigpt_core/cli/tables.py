"""Plain tables: aligned columns that ``grep`` and ``awk`` can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Left-aligned columns, two spaces apart; integers to the right with thousands separators. Cells are printable."""
    header = [printable(cell, None) for cell in header]
    body = [[f"{cell:,}" if _is_number(cell) else printable(cell, None) for cell in row] for row in rows]
    columns = list(zip(header, *body, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [bool(rows) and all(_is_number(row[index]) for row in rows) for index in range(len(header))]
    lines = []
    for cells in [list(header), *body]:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def counts_table(heading: str, counts: Mapping[str, int], examples: Mapping[str, Sequence[str]]) -> str:
    """Counts by reason, their sum, and an example of each reason that has one."""
    rows = [
        (reason.replace("_", " "), count, f"e.g. {examples[reason][0]}" if examples.get(reason) else "")
        for reason, count in counts.items()
    ]
    return table((heading, "count", ""), [*rows, ("total", sum(counts.values()), "")])


def _is_number(cell: object) -> bool:
    return isinstance(cell, int) and not isinstance(cell, bool)
