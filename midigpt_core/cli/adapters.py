"""``midigpt adapters``: ``list``, ``apply``, ``merge`` and ``diff``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from midigpt_core import files
from midigpt_core.checkpoint import adapter_files, headers
from midigpt_core.checkpoint.plain import mapping_or_empty
from midigpt_core.checkpoint.report import different_values
from midigpt_core.cli.echo import echo_json, echo_line, echo_lines, remark_line
from midigpt_core.cli.groups import LazyGroup
from midigpt_core.cli.options import BUNDLE, PATH, FiniteRange, common_options, fetched
from midigpt_core.cli.selected import registry
from midigpt_core.cli.tables import table
from midigpt_core.errors import CheckpointError, ConfigError
from midigpt_core.paths import usable_path
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from midigpt_core.checkpoint.adapter_files import AdapterHeader

#: As in diff(1): 0 if nothing differs, 1 if something does, 2 on an error.
_DIFFERENT = 1
_WIDTH = 60
#: Digits of a hash that are shown.
_DIGITS = 12
_HERE = "midigpt_core.cli.adapters"


@common_options
@click.group(
    cls=LazyGroup,
    lazy_commands={
        "list": (f"{_HERE}:list_adapters", "List the adapters in folders."),
        "apply": (f"{_HERE}:apply", "Write a bundle of a base with an adapter in it."),
        "merge": (f"{_HERE}:merge", "Write a bundle of a base with several adapters in it."),
        "diff": (f"{_HERE}:diff", "List the differences between two adapters."),
    },
)
def adapters() -> None:
    """List, apply, merge and compare adapters, the small files that a run with --adapter writes."""


def _output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the commands that write a bundle."""
    for option in (
        click.option("--overwrite", is_flag=True, help="Replace the file OUT if it exists."),
        click.option(
            "-o", "--output", "target", type=PATH, required=True, metavar="OUT",
            help="Bundle to write: a .pt or .safetensors file or, without a suffix, a Hugging Face folder.",
        ),
        click.option(
            "--base", type=BUNDLE, required=True, metavar="BUNDLE", help="The model that the adapter was trained on."
        ),
    ):  # fmt: skip
        function = option(function)
    return function


@common_options
@click.command("list")
@click.argument("paths", nargs=-1, type=PATH, metavar="[PATH]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def list_adapters(ctx: click.Context, paths: tuple[str, ...], as_json: bool) -> None:
    """List adapters with their kind, base and size.

    PATH is a file, or a folder that is searched; by default the current one.
    """
    registry(ctx)
    found = [(path, adapter_files.read_adapter_header(path)) for path in _found(paths or (".",))]
    facts = [_facts(path, header) for path, header in found]
    if as_json:
        echo_json(facts)
        return
    if not facts:
        remark_line("No adapter is there. 'midigpt train --adapter lora --init-from BUNDLE' and 'finetune' make one.")
        return
    rows = [
        (
            row["path"],
            printable(f"{row['adapter']} {_listed(row['options'])}", _WIDTH),
            printable(f"{row['base']['name']} ({str(row['base']['weights'])[:_DIGITS]})", _WIDTH),
            row["bytes"],
            row["steps"] if isinstance(row["steps"], int) else "-",
        )
        for row in facts
    ]
    echo_lines(table(("adapter", "kind", "base", "bytes", "steps"), rows))


@common_options
@click.command()
@click.argument("adapter", type=PATH, metavar="ADAPTER")
@_output_options
@click.pass_context
def apply(ctx: click.Context, adapter: str, base: str, target: str, overwrite: bool) -> None:
    """Write the bundle of BUNDLE with ADAPTER in its weights: that of the run that wrote ADAPTER, to the bit.

    ADAPTER is a file, or the folder of a run.
    """
    registry(ctx)
    _write([adapter], base, target, None, overwrite=overwrite)


@common_options
@click.command()
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="ADAPTER...")
@_output_options
@click.option(
    "--weight",
    "weights",
    type=FiniteRange(-10, 10),
    multiple=True,
    metavar="W",
    help="How often an adapter counts, for each in turn.  [default: 1 divided by their number]",
)
@click.pass_context
def merge(
    ctx: click.Context,
    /,
    *,
    paths: tuple[str, ...],
    base: str,
    target: str,
    overwrite: bool,
    weights: tuple[float, ...],
) -> None:
    """Write the bundle of BUNDLE with several adapters in its weights: the base, and a share of what each changes."""
    registry(ctx)
    if weights and len(weights) != len(paths):
        raise ConfigError(f"--weight is given {len(weights)} times, for {len(paths)} adapters. Give one for each.")
    _write(list(paths), base, target, list(weights) or [1 / len(paths)] * len(paths), overwrite=overwrite)


@common_options
@click.command()
@click.argument("first", type=PATH, metavar="A")
@click.argument("second", type=PATH, metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def diff(ctx: click.Context, first: str, second: str, as_json: bool) -> int:
    """List the differences between the adapters A and B, field by field and tensor by tensor.

    Exit code 0 if nothing differs, 1 if something does.
    """
    registry(ctx)
    one, other = map(adapter_files.read_adapter_header, (first, second))
    found: list[tuple[str, Any, Any]] = []
    for field in ("adapter", "options", "base", "provenance"):
        found += different_values(field, getattr(one, field), getattr(other, field))
    from midigpt_core.checkpoint.adapters import load_adapter
    from midigpt_core.checkpoint.compare import tensor_differences

    found += tensor_differences("tensors", load_adapter(first).tensors, load_adapter(second).tensors)
    if as_json:
        echo_json([{"field": name, "a": left, "b": right} for name, left, right in found])
    elif found:
        rows = [(printable(name), *(printable(side, _WIDTH) for side in sides)) for name, *sides in found]
        echo_lines(table(("differs", "in A", "in B"), rows))
    else:
        echo_line("Nothing differs.")
    return _DIFFERENT if found else 0


def _write(
    adapters: Sequence[str], base: str, target: str, weights: Sequence[float] | None, *, overwrite: bool
) -> None:
    if Path(target).is_file() and not overwrite:
        raise ConfigError(f"{target}: exists already. Choose another name, or add --overwrite.")
    if not Path(target).is_dir():
        files.require_writable(target)
    for path in adapters:
        adapter_files.read_adapter_header(path)
    from midigpt_core.checkpoint.adapters import apply_files
    from midigpt_core.checkpoint.bundles import check_conversion, save_bundle

    base = fetched(base)
    check_conversion(base, target)
    written = save_bundle(apply_files(adapters, base, weights=weights), target)
    remark_line(f"{written}: {headers.format_name_of(written)}, {headers.size_on_disk(written):,} bytes")


def _found(paths: Sequence[str]) -> Iterator[Path]:
    """The adapters among ``paths`` and in folders among them, each once."""
    seen: dict[Path, None] = {}
    for text in paths:
        path = usable_path(text, what="adapter", error=CheckpointError)
        if path.is_dir():
            seen |= dict.fromkeys(file for file in sorted(path.rglob(f"*{adapter_files.SUFFIX}")) if _is_adapter(file))
        else:
            seen[path] = None
    yield from seen


def _is_adapter(path: Path) -> bool:
    try:
        adapter_files.read_adapter_header(path)
    except CheckpointError:  # a bundle, or a file of another program
        return False
    return True


def _facts(path: Path, header: AdapterHeader) -> dict[str, Any]:
    provenance = header.provenance
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "adapter": header.adapter,
        "options": dict(header.options),
        "base": {"name": header.base.get("name", "-"), "weights": header.base["weights"]},
        "steps": provenance.get("steps"),
        "metrics": mapping_or_empty(provenance.get("metrics")),
        "provenance": dict(provenance),
    }


def _listed(options: dict[str, Any]) -> str:
    """The options that are set, as ``rank 8, alpha 16.0``."""
    shown = {
        name: " ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in options.items()
        if value not in ([], "", None)
    }
    return ", ".join(f"{name} {value}" for name, value in shown.items())
