"""Prints how the figures changed against those committed last, as ratios; 1.10 is a tenth more than before.

python -m bench.compare [--against REVISION]

Ratios to the other side were taken in one run and can be compared from machine to machine; plain figures cannot.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import TYPE_CHECKING

from bench import results
from bench.rows import format_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.results import Group
    from bench.rows import Row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", default="HEAD", metavar="REVISION", help="a commit (HEAD)")
    revision = parser.parse_args().against
    path = f"{revision}:bench/results/{results.JSON_PATH.name}"
    shown = subprocess.run(["git", "show", path], capture_output=True, text=True, check=False)
    if shown.returncode:
        sys.exit(f"{path}: {shown.stderr.strip()}. Name a revision that has figures.")
    for line in changes(results.parse(shown.stdout), results.parse(results.JSON_PATH.read_text(encoding="utf-8"))):
        print(line)


def changes(before: Mapping[str, Group], now: Mapping[str, Group]) -> Iterator[str]:
    """A line per row of either side."""
    old = {(name, row.name): row for name, group in before.items() for row in group.rows}
    new = {(name, row.name): row for name, group in now.items() for row in group.rows}
    yield f"{'figure':>8}  {'ratio':>8}  row"
    for key in dict.fromkeys([*old, *new]):
        name = f"{key[0]}: {key[1]}"
        if key not in old:
            yield f"{'new':>8}  {'':8}  {name}  ({format_number(new[key].ours)} {new[key].unit})"
        elif key not in new:
            yield f"{'gone':>8}  {'':8}  {name}"
        else:
            yield f"{_change(old[key], new[key])}  {name}"


def _change(old: Row, new: Row) -> str:
    figure = f"{new.ours / old.ours:8.2f}" if old.ours else f"{'–':>8}"
    ratio = f"{new.ratio / old.ratio:8.2f}" if old.ratio and new.ratio is not None else f"{'–':>8}"
    return f"{figure}  {ratio}"


if __name__ == "__main__":
    main()
