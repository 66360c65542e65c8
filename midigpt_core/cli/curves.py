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
@click.option("-o", "--output", type=PATH, metavar="FILE", help="PNG file to write.  [default: RUN/curves.png]")
def curves(run: str, output: str | None) -> None:
    """Draw the curves of a run as a PNG, from the metrics.jsonl in its folder. Works while the run goes on, too."""
    from midigpt_core.training.reporting.curves import save_run_curves
    from midigpt_core.training.reporting.metrics_file import run_folder

    path = Path(output) if output else run_folder(run) / "curves.png"
    files.require_writable(path)
    save_run_curves(path, run)
    remark_line(f"Wrote {path}.")
