"""``midigpt train``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from midigpt_core.cli.echo import echo_lines, remark_line
from midigpt_core.cli.options import NAME, PATH, Several, SeveralCommand, common_options
from midigpt_core.cli.selected import registry
from midigpt_core.config.overrides import override_problems, require_none
from midigpt_core.config.train import TrainConfig, is_path, setting_help
from midigpt_core.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from midigpt_core.plugins import Registry

    Function = TypeVar("Function", bound=Callable[..., Any])

#: Settings that have a flag of their own; ``--set`` reaches every other one.
FLAGS = (
    "output_dir",
    "encoder_config_path",
    "init_from",
    "max_steps",
    "batch_size",
    "learning_rate",
    "precision",
    "seed",
    "num_workers",
    "devices",
    "num_nodes",
    "strategy",
    *(kind.setting for kind in Kind),
)


def _flag(name: str) -> str:
    return "--encoder-config" if name == "encoder_config_path" else f"--{name.replace('_', '-')}"


def _setting_flags(function: Function) -> Function:
    """A text option for every name in FLAGS; the configuration checks the values."""
    for name in reversed(FLAGS):
        kind = PATH if is_path(name) else NAME
        function = click.option(_flag(name), name, type=kind, metavar="VALUE", help=f"{setting_help(name)}.")(function)
    return function


@common_options
@click.command(cls=SeveralCommand)
@click.option("--config", "config_file", type=PATH, metavar="FILE", help="Configuration: .json, .yaml or .toml.")
@click.option("--train-data", cls=Several, type=PATH, metavar="PATH...", help="Shards: files, folders, globs.")
@click.option("--eval-data", cls=Several, type=PATH, metavar="PATH...", help="Shards to evaluate on.")
@_setting_flags
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any other setting, e.g. weight_decay=0."
)
@click.option(
    "--resume", type=PATH, metavar="FILE|auto", help="Continue from a step*.ckpt file, or from the run's newest."
)
@click.option(
    "--accept-new-data", is_flag=True, help="Continue even if the training data differs from the checkpoint's."
)
@click.option("--dry-run", is_flag=True, help="Print parameters, tokens and memory of the run without training.")
@click.pass_context
def train(
    ctx: click.Context,
    /,
    *,
    config_file: str | None,
    train_data: tuple[str, ...],
    eval_data: tuple[str, ...],
    assignments: tuple[str, ...],
    resume: str | None,
    accept_new_data: bool,
    dry_run: bool,
    **flags: str | None,
) -> None:
    """Train a model on parquet shards and write its bundle, model_final.pt, to the output folder.

    Flags and --set override --config, which overrides the defaults.
    """
    from midigpt_core.training.planning.launch import die_with_first, quiet_other_ranks

    die_with_first()
    quiet_other_ranks(["midigpt_core"])
    config = configure(config_file, assignments, flags, registry(ctx))
    if not train_data and not config.train_sets:
        raise click.UsageError("Missing option '--train-data'. Give it, or set train_sets in the configuration.")
    from midigpt_core.cli.build_progress import build_progress
    from midigpt_core.training.planning.prepare import prepare

    # Reports every problem before torch is imported, which takes seconds.
    with build_progress() as progress:
        plan = prepare(
            config,
            list(train_data) or None,
            list(eval_data),
            resume=resume,
            accept_new_data=accept_new_data,
            progress=progress,
        )
    if dry_run:
        from midigpt_core.training.dry_run import describe

        echo_lines(describe(plan))
        return
    from midigpt_core.training.run import fit

    result = fit(plan)
    if result.rank == 0:
        done = f"Trained {result.steps:,} steps"
        if result.steps == result.steps_before >= config.max_steps:
            done = f"The run already has its {result.steps:,} steps (max_steps): nothing was trained"
        remark_line(f"{done}. The bundle is {result.bundle}.")
        if result.best_bundle is not None:
            remark_line(f"The saved step with the lowest evaluation loss is {result.best_bundle}.")


def configure(
    config_file: str | None, assignments: tuple[str, ...], flags: dict[str, str | None], registry: Registry
) -> TrainConfig:
    """The configuration of a command line, checked as far as possible without the data."""
    config = TrainConfig.from_file(config_file) if config_file else TrainConfig()
    problems = []
    for name, value in flags.items():
        if value is None:
            continue
        set_too = [text for text in assignments if text.partition("=")[0].strip() == name]
        flag = _flag(name)
        if set_too:
            problems.append(f"{flag} {value} and --set {set_too[0]} set the same thing. Keep one of them.")
        else:
            problems += override_problems(config, [f"{name}={value}"], origin=flag)
    # After the flags: `--set mask.period=3` is an option of the component that `--mask` names.
    require_none([*problems, *override_problems(config, assignments)])
    source = registry.source_of_selection()
    if source is not None and "source" not in config.set_fields:
        config.update({"source": source}, "--plugin")
    config.validate()
    return config
