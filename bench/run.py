"""Measures groups of rows, writes ``bench/results/latest.md`` and ``latest.json``, from them.

python -m bench.run                      # every group: what `make bench` does
python -m bench.run reading encoding     # these; the other groups keep their last figures
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from bench import corpus, results
from bench.machine import describe
from bench.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.rows import Row

#: Modules of this package with a function ``rows(session)``, in the order of the table. Add yours here.
GROUPS = (
    "reading", "encoding", "stream", "preprocess", "sources", "start", "packing", "training", "threads", "generation",
    "serving", "quality",
)  # fmt: skip
#: Measured only if named: it takes half an hour.
LONG = ("quality",)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; unless given, all but {', '.join(LONG)}"
    )
    parser.add_argument("--repeats", type=int, default=7, help="counted turns of each side (7)")
    parser.add_argument(
        "--baseline", type=Path, default=Path(".venv-baseline"), help="the public package's environment"
    )
    parser.add_argument("--folder", type=Path, default=corpus.FOLDER, help="where the bench's data is kept")
    parser.add_argument("--dry-run", action="store_true", help="print the table, write nothing")
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    baseline_python = options.baseline / "bin" / "python"
    if not baseline_python.exists():
        print(f"no {baseline_python}: the baseline is left out (make baseline).", file=sys.stderr)
    session = Session(
        repeats=options.repeats,
        folder=options.folder,
        baseline_python=baseline_python if baseline_python.exists() else None,
    )
    named = options.groups or [group for group in GROUPS if group not in LONG]
    measured = dict(_measure(named, session))
    if options.dry_run:
        print(results.render_table(measured))
        return
    known = results.parse(results.JSON_PATH.read_text(encoding="utf-8")) if results.JSON_PATH.exists() else {}
    merged = {name: (known | measured)[name] for name in GROUPS if name in known | measured}
    results.write(merged)
    print(results.render_table(merged))


def _measure(names: tuple[str, ...] | list[str], session: Session) -> Iterator[tuple[str, results.Group]]:
    for name in names:
        date, machine = datetime.now(UTC).isoformat(timespec="minutes"), describe()
        rows: list[Row] = []
        for row in import_module(f"bench.{name}").rows(session):
            print(f"{name}: {row.name}: {row.ours:.4g} {row.unit}, ratio {row.ratio or float('nan'):.4g}", flush=True)
            rows.append(row)
        yield name, results.Group(date=date, machine=machine, rows=rows)


if __name__ == "__main__":
    main()
