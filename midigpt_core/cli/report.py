"""``midigpt report``."""

from __future__ import annotations

from pathlib import Path

import click

from midigpt_core import files
from midigpt_core.cli.echo import remark_line
from midigpt_core.cli.options import PATH, common_options


@common_options
@click.command()
@click.argument("run", type=PATH, metavar="RUN")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="HTML file to write.  [default: RUN/report.html]")
def report(run: str, output: str | None) -> None:
    """Write a page on a run: curves, samples, evaluations, data, settings, provenance.

    The page is one HTML file that needs no network. Works while the run goes on, too.
    """
    from midigpt_core.training.reporting.metrics_file import run_folder
    from midigpt_core.training.reporting.page.report import run_report

    page = run_report(run)
    path = Path(output) if output else run_folder(run) / "report.html"
    files.require_writable(path)
    files.write_text(path, page)
    remark_line(f"Wrote {path}.")
