"""``midigpt finetune``."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any

import click

from midigpt_core.cli.echo import remark_line
from midigpt_core.cli.options import (
    NAME,
    PATH,
    SOURCE_HELP,
    FiniteRange,
    SeveralCommand,
    common_options,
    data_argument,
)
from midigpt_core.cli.selected import registry
from midigpt_core.cli.train import configured, fitted, music_line
from midigpt_core.config.train import TrainConfig
from midigpt_core.errors import DataError, RunStopped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midigpt_core.training.planning.prepare import Plan
    from midigpt_core.training.reporting.copy_rates import CopyReport

#: The packaged configuration that it starts from.
PRESET = "finetune"
#: With fewer pieces a model learns them by heart, and none could be held out of them.
FEWEST_PIECES = 5
_MINUTES = 15.0
#: Of few pieces a tenth, which `midigpt train` holds out, is none or one: too few to tell whether it helped.
_HELD_OUT = 0.2


@common_options
@click.command(cls=SeveralCommand)
@data_argument
@click.option(
    "--from",
    "base",
    type=NAME,
    required=True,
    metavar="MODEL",
    help="Trained model: a bundle, a Hugging Face folder, or a name on the Hub.",
)
@click.option("-o", "--output-dir", type=PATH, required=True, metavar="FOLDER", help="Folder of the run.")
@click.option(
    "--minutes",
    type=FiniteRange(0, 60 * 24 * 365, min_open=True),
    default=_MINUTES,
    show_default=True,
    metavar="M",
    help="About how long to train.",
)
@click.option("--full", is_flag=True, help="Train all weights, not a small adapter (LoRA).")
@click.option("--source", type=NAME, metavar="NAME", help=SOURCE_HELP)
@click.option("--encoder-config", type=PATH, metavar="FILE|NAME", help="Refuse a model with another encoder than this.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="A setting of 'midigpt train'.")
@click.pass_context
def finetune(
    ctx: click.Context,
    /,
    *,
    data_paths: tuple[str, ...],
    base: str,
    output_dir: str,
    minutes: float,
    full: bool,
    source: str | None,
    encoder_config: str | None,
    assignments: tuple[str, ...],
) -> None:  # fmt: skip
    """Continue the training of a model on DATA, your own songs.

    A fifth of the pieces is held out. Prints the base with its licence, what is chosen, the loss on the held-out pieces
    before and after, and the command that generates with the result. To continue a run that was stopped: midigpt train
    DATA -o FOLDER --resume auto.
    """
    from midigpt_core.training.planning.launch import die_with_first

    started = time.monotonic()
    die_with_first()
    if not data_paths:
        raise click.UsageError("Missing argument 'DATA'. Give files, folders or archives of your songs.")
    plugins = registry(ctx)
    flags: dict[str, str | None] = {
        "init_from": base,
        "output_dir": output_dir,
        "source": source,
        "encoder_config_path": encoder_config,
        "adapter": "none" if full else None,
    }
    from midigpt_core.cli.build_progress import build_progress
    from midigpt_core.training.planning.prepare import prepare
    from midigpt_core.training.planning.recorded import is_free, leave_open
    from midigpt_core.training.planning.resume import resume_candidates
    from midigpt_core.training.planning.start_from import adopt_rate, adopt_windows, base_of

    config = configured(TrainConfig.from_file(PRESET), assignments, flags, plugins)
    if "eval_share" not in config.set_fields:
        config.update({"eval_share": _HELD_OUT}, PRESET)
    if not config.eval_share:
        # Nothing is evaluated.
        config.update({name: 0 for name in ("copy_limit", "patience") if is_free(config, name)}, PRESET)
    found = base_of(config)
    assert found is not None
    remark_line(found.line())
    adopt_windows(config, found)
    if rate := adopt_rate(config, found):
        remark_line(rate)
    leave_open(config, minutes)
    with build_progress() as progress:
        plan = prepare(config, list(data_paths), progress=progress)
    _require_pieces(plan, data_paths[0])
    remark_line(music_line(plan, data_paths))
    plan = fitted(plan, minutes, spent=time.monotonic() - started)
    # Imports torch and Lightning, which takes seconds.
    from midigpt_core.training import finetune as tuning

    try:
        tuned = tuning.finetune(plan, say=remark_line)
    except RunStopped:
        if resume_candidates("auto", plan.run_dir / "checkpoints"):
            data = " ".join(map(shlex.quote, data_paths))
            remark_line(f"To go on: midigpt train {data} -o {shlex.quote(output_dir)} --resume auto")
        raise
    remark_line(f"Trained {tuned.run.steps:,} steps. The bundle is {tuned.bundle}.")
    if tuned.before is not None and tuned.after is not None:
        pieces = len(plan.evaluation.pieces) if plan.evaluation is not None else 0
        remark_line(
            f"held-out loss: {tuned.before:.4f} before, {tuned.after:.4f} after "
            f"({_judged(tuned)}; {pieces:,} held-out piece{'' if pieces == 1 else 's'}, by which the bundle was chosen)"
        )
    if tuned.run.copies is not None:
        for line in _copied(tuned.run.copies):
            remark_line(line)
    remark_line(
        f"Next: midigpt generate --checkpoint {shlex.quote(str(tuned.bundle))} --new-track program=0 --bars 0-7 "
        f"-o {shlex.quote(str(plan.run_dir / 'music'))}"
    )


def _judged(tuned: Any) -> str:
    if tuned.after < tuned.before:
        return "lower"
    return "not lower: give more music, or fewer --minutes"


def _copied(copies: CopyReport) -> Iterator[str]:
    """What it copies, next to what the base copies and what the songs have in common, and what to do against it."""
    for name, where in (("held_out", "the held-out songs"), ("training", "your songs")):
        rate, base = copies.rates.get(name), copies.base.get(name)
        if rate is None:
            continue
        others = [*([] if base is None else [f"of the base's {base.value:.0%}"])]
        if name == "held_out":
            others.append(f"of these songs' own bars {rate.own:.0%}")
        yield (
            f"copies: of {rate.bars:,} bars generated in {where}, {rate.value:.0%} are in the songs it was trained on"
            f"{'; ' if others else ''}{', '.join(others)}"
        )
    if copies.excess > 0:
        yield (
            f"It copies more than copy_limit {copies.limit:g} allows, at every saved step: train fewer --minutes, give "
            "more songs, or generate with --novel."
        )


def _require_pieces(plan: Plan, data: str) -> None:
    """Raise DataError for less music than a model can be fine-tuned on."""
    usable = len(plan.training.pieces) + (len(plan.evaluation.pieces) if plan.evaluation is not None else 0)
    if usable < FEWEST_PIECES:
        raise DataError(
            f"{data}: {usable} pieces can be used, and fine-tuning needs {FEWEST_PIECES} at least. Add songs, or "
            f"find out with 'midigpt corpus info {data}' why others cannot be used."
        )
