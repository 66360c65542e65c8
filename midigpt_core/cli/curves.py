"""``midigpt curves``."""

from __future__ import annotations

from pathlib import Path

import click

from midigpt_core import files
from midigpt_core.cli.echo import remark_line
from midigpt_core.cli.options import PATH, common_options


@common_options
@click.command()
@click.argument("run", type=PATH, metavar="RUN")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Where the PNG goes; RUN/curves.png unless given.")
def curves(run: str, output: str | None) -> None:
    """Draw the curves of a run, from the metrics.jsonl in its folder, as a PNG; also while the run goes."""
    from midigpt_core.training.reporting.curves import run_folder, save_run_curves

    path = Path(output) if output else run_folder(run) / "curves.png"
    files.require_writable(path)
    save_run_curves(path, run)
    remark_line(f"The curves are {path}.")
