"""``midigpt finetune``."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any

import click

from midigpt_core.cli.echo import remark_line
from midigpt_core.cli.options import NAME, PATH, FiniteRange, SeveralCommand, common_options, data_argument
from midigpt_core.cli.selected import registry
from midigpt_core.cli.train import configured, fitted, music_line
from midigpt_core.config.train import TrainConfig
from midigpt_core.errors import DataError

if TYPE_CHECKING:
    from midigpt_core.training.finetune import Copies
    from midigpt_core.training.planning.prepare import Plan

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
        "encoder_config_path": encoder_config,
        "adapter": "none" if full else None,
    }
    config = configured(TrainConfig.from_file(PRESET), assignments, flags, plugins)
    if "eval_share" not in config.set_fields:
        config.update({"eval_share": _HELD_OUT}, PRESET)
    from midigpt_core.cli.build_progress import build_progress
    from midigpt_core.training.planning.prepare import prepare
    from midigpt_core.training.planning.recorded import leave_open
    from midigpt_core.training.planning.start_from import adopt_windows, base_of

    found = base_of(config)
    assert found is not None
    remark_line(found.line())
    adopt_windows(config, found)
    leave_open(config, minutes)
    with build_progress() as progress:
        plan = prepare(config, list(data_paths), progress=progress)
    _require_pieces(plan, data_paths[0])
    remark_line(music_line(plan, data_paths))
    plan = fitted(plan, minutes, spent=time.monotonic() - started)
    # Imports torch and Lightning, which takes seconds.
    from midigpt_core.training import finetune as tuning

    tuned = tuning.finetune(plan, say=remark_line)
    remark_line(f"Trained {tuned.run.steps:,} steps. The bundle is {tuned.bundle}.")
    if tuned.before is not None and tuned.after is not None:
        pieces = len(plan.evaluation.pieces) if plan.evaluation is not None else 0
        remark_line(
            f"held-out loss: {tuned.before:.4f} before, {tuned.after:.4f} after "
            f"({_judged(tuned)}; {pieces:,} held-out piece{'' if pieces == 1 else 's'}, by which the bundle was chosen)"
        )
    if tuned.copies is not None:
        remark_line(_copied(tuned.copies))
    remark_line(
        f"Next: midigpt generate --checkpoint {shlex.quote(str(tuned.bundle))} --new-track program=0 --bars 0-7 "
        f"-o {shlex.quote(str(plan.run_dir / 'music'))}"
    )


def _judged(tuned: Any) -> str:
    if tuned.after < tuned.before:
        return "lower"
    return "not lower: give more music, or fewer --minutes"


def _copied(copies: Copies) -> str:
    """What it copies, and what to do where that is more than twice what the songs have in common."""
    line = (
        f"copies: {copies.tuned:.0%} of {copies.bars:,} generated bars are in your songs, {copies.base:.0%} of the "
        f"base's; of the held-out songs' own bars {copies.true:.0%} are"
    )
    if copies.tuned > max(2 * copies.true, copies.base):
        return f"{line}. It copies: train fewer --minutes, give more songs, or generate with --novel."
    return line


def _require_pieces(plan: Plan, data: str) -> None:
    """Raise DataError for less music than a model can be fine-tuned on."""
    usable = len(plan.training.pieces) + (len(plan.evaluation.pieces) if plan.evaluation is not None else 0)
    if usable < FEWEST_PIECES:
        raise DataError(
            f"{data}: {usable} pieces can be used, and fine-tuning needs {FEWEST_PIECES} at least. Add songs, or "
            f"find out with 'midigpt corpus info {data}' why others cannot be used."
        )
