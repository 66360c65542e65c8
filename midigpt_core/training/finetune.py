"""Fine-tuning on one's own songs: a run from a base, with held-out losses and copies before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from attrs import frozen

from midigpt_core import terminal
from midigpt_core.checkpoint import build_model, load_checkpoint
from midigpt_core.corpus.copy_index import NAME, build_copy_index
from midigpt_core.corpus.store import open_corpus
from midigpt_core.errors import MidigptError
from midigpt_core.inference import InferenceEngine
from midigpt_core.inference.devices import device_named
from midigpt_core.music.excerpts import draw_excerpts
from midigpt_core.music.generating import generate
from midigpt_core.music.measuring import chosen_metrics, measure
from midigpt_core.plugins import current_registry
from midigpt_core.training.evaluate import losses_on
from midigpt_core.training.loop.precision import usable_precision
from midigpt_core.training.planning.host_memory import host_memory
from midigpt_core.training.run import fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lightning.pytorch.callbacks import Callback

    from midigpt_core.training.planning.prepare import Plan
    from midigpt_core.training.run import TrainResult

_log = terminal.logger(__name__)

#: Excerpts of held-out pieces in which bars are generated, and as many with a control.
_EXCERPTS = 16


@frozen(kw_only=True)
class FineTuned:
    """The result of fine-tuning."""

    run: TrainResult
    #: The bundle with the lowest loss on the held-out pieces.
    bundle: Path
    #: Losses on the held-out pieces, in nats per token, of the base and of :attr:`bundle`; None: nothing is held out.
    before: float | None
    after: float | None
    #: None: there were too few pieces.
    copies: Copies | None


@frozen(kw_only=True)
class Copies:
    """Shares of the generated bars of at least four notes that are in the songs that were trained on."""

    #: Where bars of held-out pieces are generated, of the base and of the result.
    base: float
    tuned: float
    #: Of the held-out pieces' own bars: how much these songs have in common.
    true: float
    #: Generated bars that were looked up, of the result.
    bars: int


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
    return FineTuned(run=run, bundle=bundle, before=before, after=after, copies=copies(plan, bundle))


def copies(plan: Plan, bundle: Path) -> Copies | None:
    """What the base of a run and ``bundle`` copy from the songs that the run was trained on.

    Both fill in the same bars of the held-out pieces. The fingerprints of the songs' bars are kept in the run's folder.
    None, with a warning, where that cannot be measured.
    """
    if plan.base is None or plan.evaluation is None:
        return None
    try:
        excerpts = draw_excerpts(plan.evaluation, plan.encoder, _EXCERPTS)
        known = build_copy_index(
            open_corpus(plan.training.shards),
            plan.training.pieces,
            most_bytes=host_memory() // 4,
            corpus=plan.train_pieces.fingerprint,
        )
        assert known is not None
        known.save(plan.run_dir / NAME)
        metrics = chosen_metrics(current_registry(), ["copy_rate"])
        found = []
        for path in (plan.base.path, bundle):
            engine = InferenceEngine.from_checkpoint(path)
            music = generate(engine, excerpts)
            assert music is not None
            report = measure(metrics, music, engine.encoder, training_bars=known, pieces=excerpts.pieces)
            found.append(report.figures["copy_rate"])
    except MidigptError as error:
        _log.warning("copies are not measured: %s", error)
        return None
    base, tuned = found
    if base.value is None or tuned.value is None or tuned.baseline is None:
        _log.warning("copies are not measured: no generated bar has four notes.")
        return None
    return Copies(base=base.value, tuned=tuned.value, true=tuned.baseline, bars=tuned.count)


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
