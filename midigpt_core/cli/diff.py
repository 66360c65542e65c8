"""``midigpt diff``."""

from __future__ import annotations

import click

from midigpt_core.checkpoint import report
from midigpt_core.cli.echo import echo_json, echo_line, echo_lines
from midigpt_core.cli.options import BUNDLE, common_options, fetched
from midigpt_core.cli.selected import registry
from midigpt_core.cli.tables import table
from midigpt_core.terminal import printable

#: As in diff(1): 0 if nothing differs, 1 if something does, 2 on an error.
_DIFFERENT = 1
_WIDTH = 60


@common_options
@click.command()
@click.argument("first", type=BUNDLE, metavar="A")
@click.argument("second", type=BUNDLE, metavar="B")
@click.option("--header-only", is_flag=True, help="Compare the headers only; no tensor is read.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def diff(ctx: click.Context, first: str, second: str, header_only: bool, as_json: bool) -> int:
    """List the differences between the bundles A and B, field by field and tensor by tensor.

    Their formats are not compared. Exit code 0 if nothing differs, 1 if something does.
    """
    registry(ctx)
    first, second = map(fetched, (first, second))
    found = report.differences(*map(report.inspect, (first, second)))
    if not header_only:
        from midigpt_core.checkpoint.compare import weight_differences

        found += weight_differences(first, second)
    if as_json:
        echo_json([{"field": name, "a": one, "b": other} for name, one, other in found])
    elif found:
        rows = [(printable(name), *(printable(side, _WIDTH) for side in sides)) for name, *sides in found]
        echo_lines(table(("differs", "in A", "in B"), rows))
    else:
        echo_line("Nothing differs." if not header_only else "Nothing differs in the headers.")
    return _DIFFERENT if found else 0
