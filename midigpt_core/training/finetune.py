"""Fine-tuning on one's own songs: a run from a base, with held-out losses before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from attrs import frozen

from midigpt_core.checkpoint import build_model, load_checkpoint
from midigpt_core.inference.devices import device_named
from midigpt_core.training.evaluate import losses_on
from midigpt_core.training.loop.precision import usable_precision
from midigpt_core.training.run import fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lightning.pytorch.callbacks import Callback

    from midigpt_core.training.planning.prepare import Plan
    from midigpt_core.training.run import TrainResult


@frozen(kw_only=True)
class FineTuned:
    """The result of fine-tuning."""

    run: TrainResult
    #: The bundle with the lowest loss on the held-out pieces, of those that do not copy more than is allowed if there
    #: are any.
    bundle: Path
    #: Losses on the held-out pieces, in nats per token, of the base and of :attr:`bundle`; None: nothing is held out.
    before: float | None
    after: float | None


def finetune(plan: Plan, *, callbacks: Sequence[Callback] = (), say: Callable[[str], None]) -> FineTuned:
    """Train as planned from the plan's base. ``callbacks`` take part in the run; ``say`` gets the loss of the base.

    Raises what :func:`midigpt_core.training.run.fit` raises.
    """
    before = None if plan.base is None else held_out_loss(plan, plan.base.path)
    if before is not None:
        say(f"held-out loss of the base: {before:.4f}")
    run = fit(plan, callbacks=callbacks)
    bundle = run.best_bundle or run.bundle
    after = held_out_loss(plan, bundle)
    return FineTuned(run=run, bundle=bundle, before=before, after=after)


def held_out_loss(plan: Plan, bundle: Path) -> float | None:
    """The loss of a bundle on the rows that the plan's run is evaluated on; None: there are none."""
    if plan.evaluation is None:
        return None
    device = device_named(None)
    model = build_model(load_checkpoint(bundle, dtype=torch.float32), device=device, path=bundle)
    config = plan.config
    precision = usable_precision(config.precision, gpu=torch.cuda.is_available())
    report = losses_on(
        model, plan.encoder, plan.evaluation,
        rows=config.eval_rows, batch_size=config.batch_size, precision=precision,
    )  # fmt: skip
    return report.loss
