"""``midigpt train``."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from midigpt_core.cli.echo import echo_lines, remark_line
from midigpt_core.cli.encoders import presets_of
from midigpt_core.cli.options import (
    NAME,
    PATH,
    FiniteRange,
    Several,
    SeveralCommand,
    common_options,
    data_argument,
    one_spelling,
)
from midigpt_core.cli.selected import registry, source_of_data
from midigpt_core.config.overrides import override_problems, require_none
from midigpt_core.config.train import (
    TrainConfig,
    is_path,
    setting_default,
    setting_groups,
    setting_help,
    setting_names,
)
from midigpt_core.errors import ConfigError
from midigpt_core.kinds import RUN_KINDS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from midigpt_core.plugins import Registry
    from midigpt_core.training.planning.prepare import Plan
    from midigpt_core.training.run import TrainResult

    Function = TypeVar("Function", bound=Callable[..., Any])

#: The packaged configuration that a run of some minutes starts from.
LAPTOP = "laptop"
#: Share of the pieces that is held out where DATA is all that is given, and what its origin says.
HELD_OUT = 0.1
_ALONE = "no --eval-data"


def flag_of(name: str) -> str:
    """The option of a setting."""
    return "--encoder-config" if name == "encoder_config_path" else f"--{name.replace('_', '-')}"


class _Setting(click.Option):
    """The option of a setting: a text that the configuration checks."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of components and of presets; the shell completes paths by itself."""
        name = str(self.name)
        if name == "encoder_config_path":
            words = [preset for item in registry(ctx).provided(Kind.ENCODER) for preset in presets_of(item)]
        elif name in (kind.setting for kind in RUN_KINDS):
            words = [item.spec.name for item in registry(ctx).provided(name.replace("_", "-"))]
        else:
            return super().shell_complete(ctx, incomplete)
        found = [CompletionItem(word) for word in sorted(words) if word.startswith(incomplete)]
        # A file may be named instead.
        return found or [CompletionItem(incomplete, type="file")]

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        # The spelling of the configuration file, which sweeps use, is accepted and not listed.
        return record and (record[0].replace(f"--{self.name}, ", ""), record[1])

    def get_error_hint(self, ctx: click.Context | None) -> str:
        return f"'{flag_of(str(self.name))}'"


class TrainCommand(SeveralCommand):
    """A command whose help lists the settings in groups, after its other options."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Without the spelling of configuration files."""
        second = {f"--{option.name}" for option in self.params if isinstance(option, _Setting)}
        first = {flag_of(option.name) for option in self.params if isinstance(option, _Setting) and option.name}
        found = super().shell_complete(ctx, incomplete)
        return [item for item in found if item.value in first or item.value not in second]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        others = [
            option
            for option in self.get_params(ctx)
            if isinstance(option, click.Option) and not isinstance(option, _Setting)
        ]
        settings = {option.name: option for option in self.params if isinstance(option, _Setting)}
        with formatter.section("Options"):
            formatter.write_dl([record for option in others if (record := option.get_help_record(ctx))])
        for group, names in setting_groups().items():
            with formatter.section(f"Settings: {group}"):
                formatter.write_dl([record for name in names if (record := settings[name].get_help_record(ctx))])


def _setting_flags(function: Function) -> Function:
    """An option for every setting, which is also spelled as in a configuration file."""
    for name in setting_names():
        kind = PATH if is_path(name) else NAME
        plain = f"--{name.replace('_', '-')}"
        spellings = dict.fromkeys([f"--{name}", plain, flag_of(name), *(["-o"] if name == "output_dir" else [])])
        about = f"{setting_help(name)}.{_default(name)}"
        function = click.option(*spellings, name, cls=_Setting, type=kind, metavar="VALUE", help=about)(function)
    return function


def _setting_keys(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    return [f"{name}=" for name in setting_names() if f"{name}=".startswith(incomplete)]


def _default(name: str) -> str:
    value = setting_default(name)
    return "" if value in (None, "", []) else f"  [default: {value if isinstance(value, str) else json.dumps(value)}]"


@common_options
@click.command(cls=TrainCommand)
@data_argument
@click.option(
    "--minutes",
    type=FiniteRange(0, 60 * 24 * 365, min_open=True),
    metavar="M",
    help="Choose model size, batch and steps for this machine so that the run takes about this long.",
)
@click.option(
    "--config",
    "config_file",
    type=PATH,
    metavar="FILE|NAME",
    help="Configuration: .json, .yaml or .toml, or a name that 'midigpt config presets' lists.",
)
@click.option(
    "--train-data", cls=Several, type=PATH, metavar="PATH...", help="The same as DATA, with nothing held out of it."
)
@click.option(
    "--eval-data",
    cls=Several,
    type=PATH,
    metavar="PATH...",
    help=f"Music to evaluate on.  [default: with DATA, {HELD_OUT:.0%} of it]",
)
@_setting_flags
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=_setting_keys,
    help="A setting, or an option of a component, e.g. mask.period=3.",
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
    data_paths: tuple[str, ...],
    minutes: float | None,
    config_file: str | None,
    train_data: tuple[str, ...],
    eval_data: tuple[str, ...],
    assignments: tuple[str, ...],
    resume: str | None,
    accept_new_data: bool,
    dry_run: bool,
    **flags: str | None,
) -> None:
    """Train a model on DATA and write its bundle, model_final.pt, to the output folder.

    DATA are folders, MIDI files, archives of them, parquet shards, globs or addresses. Flags and --set override
    --config, which overrides the defaults.
    """
    from midigpt_core.training.planning.launch import die_with_first, is_first, quiet_other_ranks

    # The minutes of a run include what precedes its first step.
    started = time.monotonic()
    die_with_first()
    quiet_other_ranks(["midigpt_core"])
    plugins = registry(ctx)
    recorded = None
    if resume and not config_file:
        from midigpt_core.training.planning.recorded import chosen_minutes, recorded_settings, spelled_minutes

        recorded = recorded_settings(resume, flags["output_dir"] or TrainConfig().output_dir)
    if recorded is not None:
        config = configured(recorded, assignments, flags, plugins)
    else:
        config = configure(config_file or (LAPTOP if minutes else None), assignments, flags, plugins)
    paths = one_spelling(ctx, data_paths, train_data)
    if not paths and not config.train_sets:
        raise click.UsageError(
            "Missing option '--train-data'. Give it or DATA, or set train_sets in the configuration."
        )
    if (data_paths or minutes) and not eval_data and "eval_share" not in config.set_fields:
        config.update({"eval_share": HELD_OUT}, _ALONE)
    if minutes and recorded is None:
        from midigpt_core.training.planning.recorded import leave_open

        leave_open(config, minutes)
    from midigpt_core.cli.build_progress import build_progress
    from midigpt_core.training.planning.prepare import prepare

    # Reports every problem before torch is imported, which takes seconds.
    with build_progress() as progress:
        plan = prepare(
            config,
            list(paths) or None,
            list(eval_data),
            resume=resume,
            accept_new_data=accept_new_data,
            progress=progress,
        )
    if plan.base is not None and is_first():
        remark_line(plan.base.line())
    if data_paths and is_first():
        remark_line(music_line(plan, data_paths))
    if recorded is not None:
        if minutes and chosen_minutes(recorded) != spelled_minutes(minutes):
            remark_line("--minutes is ignored: the run goes on with its own settings. --max-steps makes it longer.")
        remark_line(f"Continuing with the settings chosen for {chosen_minutes(recorded)}: {config.max_steps:,} steps.")
    elif minutes:
        plan = fitted(plan, minutes, spent=time.monotonic() - started)
    if dry_run:
        from midigpt_core.training.dry_run import describe

        echo_lines(describe(plan))
        return
    from midigpt_core.training.run import fit

    result = fit(plan)
    if result.rank == 0:
        for line in _ending(plan, result):
            remark_line(line)


def _ending(plan: Plan, result: TrainResult) -> Iterator[str]:
    done = f"Trained {result.steps:,} steps"
    if result.steps == result.steps_before >= plan.config.max_steps:
        done = f"The run already has its {result.steps:,} steps (max_steps): nothing was trained"
    elif result.steps == result.steps_before and result.ended_early:
        done = f"The run ended after step {result.steps:,} (patience): nothing was trained. Raise patience to go on"
    yield f"{done}. The bundle is {result.bundle}."
    if result.best_bundle is None:
        return
    if plan.config.copy_limit and result.copies is not None:
        found = "The saved step with the lowest evaluation loss below copy_limit"
        if result.copies.excess > 0:
            found = "No saved step is below copy_limit. The one that exceeds it least"
        yield f"{found} is {result.best_bundle}."
    else:
        yield f"The saved step with the lowest evaluation loss is {result.best_bundle}."


def fitted(plan: Plan, minutes: float, *, spent: float) -> Plan:
    """The plan for so many minutes, of which ``spent`` seconds are over. Prints what was chosen."""
    if plan.resume_from:
        raise ConfigError(
            f"--minutes: the run in {plan.run_dir} was begun without. Give its configuration with --config."
        )
    from midigpt_core.training.sizing import fit_minutes

    fitted = fit_minutes(plan, minutes, spent=spent)
    for line in fitted.lines:
        remark_line(line)
    return fitted.plan


def music_line(plan: Plan, data: tuple[str, ...]) -> str:
    """What became of the rows of DATA, in one line."""
    rows = plan.train_pieces.rows
    left_out = ", ".join(f"{reason} {count:,}" for reason, count in rows.items() if reason != "kept")
    where = f" ({left_out}; 'midigpt corpus info {data[0]}' names some)" if left_out else ""
    usable = len(plan.training.pieces) + (len(plan.evaluation.pieces) if plan.is_held_out and plan.evaluation else 0)
    total = sum(rows.values())
    return (
        f"music: {total:,} row{'' if total == 1 else 's'}, {rows.get('kept', 0):,} kept{where}, "
        f"{usable:,} of them usable{_copies(plan)}"
    )


def _copies(plan: Plan) -> str:
    """How many pieces are copies of others, and what becomes of them; empty if there are none."""
    copies, how = plan.train_pieces.copies, plan.config.deduplicate
    if not sum(copies.values()):
        return ""
    counts = f"{copies['exact']:,} exact and {copies['near']:,} near copies"
    if how == "none":
        return f", with {counts} (--deduplicate near leaves them out)"
    return f", of {counts} the {'exact ones' if how == 'exact' else 'copies'} are left out"


def configure(
    config_file: str | None, assignments: tuple[str, ...], flags: dict[str, str | None], registry: Registry
) -> TrainConfig:
    """The configuration of a command line, checked as far as possible without the data."""
    return configured(
        TrainConfig.from_file(config_file) if config_file else TrainConfig(), assignments, flags, registry
    )


def configured(
    config: TrainConfig, assignments: tuple[str, ...], flags: dict[str, str | None], registry: Registry
) -> TrainConfig:
    """``config`` with flags and ``--set`` applied, checked as far as possible without the data."""
    from midigpt_core.plugins.choices import resolve_all

    problems = []
    for name, value in flags.items():
        if value is None:
            continue
        set_too = [text for text in assignments if text.partition("=")[0].strip() == name]
        flag = flag_of(name)
        if set_too:
            problems.append(f"{flag} {value} and --set {set_too[0]} set the same thing. Keep one of them.")
        else:
            problems += override_problems(config, [f"{name}={value}"], origin=flag)
    # After the flags: `--set mask.period=3` is an option of the component that `--mask` names.
    problems += override_problems(config, assignments)
    if problems:
        # A source that was not chosen depends on the data.
        kinds = [kind for kind in RUN_KINDS if kind is not Kind.SOURCE or Kind.SOURCE.setting in config.set_fields]
        problems += map(str, resolve_all(registry, {kind: config.choice(kind) for kind in kinds})[1])
    require_none(problems)
    source = registry.source_of_selection()
    if source is not None and "source" not in config.set_fields:
        config.update({"source": source}, "--plugin")
    config.validate()
    return config


def chosen_source(
    plugins: Registry, source: str | None, assignments: tuple[str, ...], paths: Sequence[str]
) -> str | dict[str, Any]:
    """The data source of a command that takes no other settings: its name, or a block with the options of ``--set``."""
    if not assignments:
        return source_of_data(plugins, source, paths)
    for text in assignments:
        if text.partition("=")[0].strip().partition(".")[0] != Kind.SOURCE.setting:
            raise ConfigError(f"--set {text}: only options of the data source are set here, e.g. source.min_notes=100.")
    from midigpt_core.training.planning.chosen import settle_source

    config = configure(None, assignments, {Kind.SOURCE.setting: source}, plugins)
    settle_source(config, plugins, paths)
    return config.choice(Kind.SOURCE)
