"""The figures of the last runs, kept in git as a table for people and as JSON for ``bench.compare``.

Groups are measured together or one by one; each keeps the date and the machine of its own last run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from bench.machine import summary
from bench.rows import Row, format_number

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON_PATH = Path(__file__).parent / "results" / "latest.json"
TABLE_PATH = JSON_PATH.with_suffix(".md")


@frozen(kw_only=True)
class Group:
    """The rows of one module, measured in one run."""

    #: ISO, to the minute, UTC.
    date: str
    machine: Mapping[str, Any]
    rows: list[Row]


def parse(text: str) -> dict[str, Group]:
    groups = json.loads(text)
    return {
        name: Group(date=group["date"], machine=group["machine"], rows=[Row.from_dict(row) for row in group["rows"]])
        for name, group in groups.items()
    }


def render_json(groups: Mapping[str, Group]) -> str:
    plain = {
        name: {"date": group.date, "machine": group.machine, "rows": [_rounded(row.to_dict()) for row in group.rows]}
        for name, group in groups.items()
    }
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def render_table(groups: Mapping[str, Group]) -> str:
    lines = [
        "# All comparisons",
        "",
        "| work | ours | other side | ratio | required | met |",
        "|---|---|---|---|---|---|",
        *(_line(row) for group in groups.values() for row in group.rows),
        "",
        *_origins(groups),
        "",
        "How each was measured:",
        "",
        *(f"- {row.name}: {row.how}." for group in groups.values() for row in group.rows),
    ]
    return "\n".join(lines) + "\n"


def write(groups: Mapping[str, Group]) -> None:
    """The table and the JSON, both from the figures as the JSON rounds them."""
    text = render_json(groups)
    groups = parse(text)
    JSON_PATH.write_text(text, encoding="utf-8")
    TABLE_PATH.write_text(render_table(groups), encoding="utf-8")


def _line(row: Row) -> str:
    unit = f" {row.unit}" if row.unit else ""
    theirs = "–" if not row.against else f"{row.against}: "
    if row.against:
        theirs += "not run" if row.theirs is None else f"{format_number(row.theirs)}{unit}"
    ratio = "–" if row.ratio is None else f"{format_number(row.ratio)}×"
    met = {True: "yes", False: "**no**", None: "–"}[row.is_met]
    return f"| {row.name} | {format_number(row.ours)}{unit} | {theirs} | {ratio} | {row.required or '–'} | {met} |"


def _origins(groups: Mapping[str, Group]) -> list[str]:
    """Where and when: one sentence if all groups agree, one per machine and date otherwise."""
    of_origin: dict[str, list[str]] = {}
    for name, group in groups.items():
        load = f"load {group.machine['load_before']} at the start"
        of_origin.setdefault(f"{group.date[:10]}, {summary(dict(group.machine))}; {load}", []).append(name)
    if len(of_origin) == 1:
        return [f"Measured {next(iter(of_origin))}."]
    return [f"{', '.join(names)}: measured {origin}." for origin, names in of_origin.items()]


def _rounded(value: Any) -> Any:
    """Four digits that matter: more would change with every run and say nothing."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value
