"""``midigpt convert``."""

from __future__ import annotations

from pathlib import Path

import click

from midigpt_core import files
from midigpt_core.checkpoint import bundles, headers
from midigpt_core.cli.echo import remark_line
from midigpt_core.cli.options import BUNDLE, NAME, PATH, common_options, fetched
from midigpt_core.cli.selected import registry
from midigpt_core.errors import ConfigError

_DTYPES = ("float32", "float16", "bfloat16", "float64")


@common_options
@click.command()
@click.argument("source", type=BUNDLE, metavar="IN")
@click.argument("target", type=PATH, metavar="OUT")
@click.option("--format", "format_name", type=NAME, metavar="NAME", help="Format of OUT.  [default: from its suffix]")
@click.option("--dtype", type=click.Choice(_DTYPES), help="Precision of the weights.  [default: unchanged]")
@click.option(
    "--allow-unsafe",
    is_flag=True,
    help="If a legacy directory has tensors of unknown names, run the program in it. It can do anything.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file OUT if it exists. A folder is never replaced.")
@click.pass_context
def convert(
    ctx: click.Context,
    /,
    *,
    source: str,
    target: str,
    format_name: str | None,
    dtype: str | None,
    allow_unsafe: bool,
    overwrite: bool,
) -> None:
    """Convert the bundle IN to OUT: a .pt or .safetensors file or, without a suffix, a Hugging Face folder.

    IN may be any of these, or a legacy directory.
    """
    registry(ctx)
    if Path(target).is_file() and not overwrite:
        raise ConfigError(f"{target}: exists already. Choose another name, or add --overwrite.")
    if not Path(target).is_dir():
        files.require_writable(target)
    source = fetched(source)
    bundles.check_conversion(source, target, format_name=format_name, allow_unsafe=allow_unsafe)
    precision: torch.dtype | None = None
    if dtype is not None:
        import torch

        precision = getattr(torch, dtype)
    written = bundles.convert(source, target, format_name=format_name, dtype=precision, allow_unsafe=allow_unsafe)
    remark_line(f"{written}: {headers.format_name_of(written)}, {headers.size_on_disk(written):,} bytes")
