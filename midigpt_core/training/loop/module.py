"""The Lightning module of a run: loss, optimiser step, validation."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from lightning.pytorch import LightningModule

from midigpt_core import terminal
from midigpt_core.errors import CheckpointError, ComponentError, TrainingError
from midigpt_core.keys import Stage, derive
from midigpt_core.records import IGNORED_LABEL
from midigpt_core.training.loop.adapting import has_dropout
from midigpt_core.training.loop.documents import places
from midigpt_core.training.loop.fsdp import split_over_ranks, whole
from midigpt_core.training.loop.losses import LossTally, counted_labels, token_losses
from midigpt_core.training.loop.optimization import build_optimizer, build_schedule, hyperparameters, reset
from midigpt_core.training.planning.resume import recount_micro_batches
from midigpt_core.training.processes.ranks import gathered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor, nn
    from torch.optim import Optimizer

    from midigpt_core.records import Vocabulary
    from midigpt_core.training.keeping.identity import Changes, RunIdentity
    from midigpt_core.training.loop.adapting import Adapted
    from midigpt_core.training.loop.losses import EvaluationReport
    from midigpt_core.training.loop.optimization import OptimizationSettings
    from midigpt_core.training.processes.signals import StopSignals

_log = terminal.logger("midigpt_core.training")

_ROWS_NAMED = 2


@frozen(kw_only=True)
class TakenStep:
    """The optimiser step just taken, over all micro-batches and ranks."""

    #: Mean over the predicted tokens, in nats.
    loss: float
    #: Before clipping.
    gradient_norm: float
    learning_rate: float
    #: Numbers of tokens that count in the loss, of padding positions, and of all positions.
    predicted: int
    padding: int
    positions: int
    #: Sum of the squared lengths of the documents: the pairs of positions that attention covers.
    pairs: int
    #: Tokens of each training set.
    tokens_by_set: tuple[int, ...]
    #: How often the step overflowed fp16, and was repeated, before it was taken.
    overflows: int


@frozen(eq=False, kw_only=True)
class _MicroBatch:
    """The contribution of a micro-batch to its optimiser step."""

    #: int64[B], packed rows of the token stream.
    rows: Tensor
    #: float[B], summed over the packed row's tokens.
    losses: Tensor
    predicted: Tensor
    padding: Tensor
    positions: int
    pairs: Tensor
    #: int64[S]
    tokens_by_set: Tensor

    def counts(self) -> Tensor:
        """Loss, predicted tokens, padding, positions, pairs, and the tokens of each set: float32[5 + S]."""
        positions = torch.full_like(self.predicted, self.positions)
        sums = torch.stack([self.losses.sum().float(), self.predicted, self.padding, positions, self.pairs])
        return torch.cat([sums, self.tokens_by_set])


def _altered(what: str) -> CheckpointError:
    return CheckpointError(f"the checkpoint was altered: {what}. Resume from another step*.ckpt file.")


def _rows(micro_batches: Sequence[_MicroBatch]) -> list[int]:
    return [row for micro_batch in micro_batches for row in micro_batch.rows.tolist()]


def _non_finite_rows(micro_batches: Sequence[_MicroBatch]) -> list[int]:
    return [row for part in micro_batches for row in part.rows[~part.losses.isfinite()].tolist()]


class TrainingModule(LightningModule):
    """Trains ``model``, a :class:`midigpt_core.contracts.Architecture`, on packed rows.

    The loss of an optimiser step is the mean over the *tokens* of its micro-batches on all ranks: a row with few tokens
    has little weight, and four micro-batches of one row give the same gradients as one batch of four.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: OptimizationSettings,
        vocabulary: Vocabulary,
        *,
        identity: RunIdentity,
        name_pieces: Callable[[Sequence[int]], Sequence[str]],
        signals: StopSignals,
        accept_new_data: bool = False,
        loss_on: str = "all",
        adapted: Adapted | None = None,
        architecture: str = "architecture",
        seed: int = 0,
    ) -> None:
        """``name_pieces`` returns the pieces in packed rows, for messages. The ranks agree on ``signals``
        together with the step's loss. ``loss_on``: see :func:`midigpt_core.training.loop.losses.counted_labels`.
        ``adapted``: the adapter in ``model``. ``architecture``: what messages call the component. ``seed``: of what
        dropout draws."""
        super().__init__()
        self.model = model
        self.settings = settings
        self.vocabulary = vocabulary
        self._identity = identity
        self._name_pieces = name_pieces
        self._signals = signals
        self._accept_new_data = accept_new_data
        self._loss_on = loss_on
        self.adapted = adapted
        self._architecture = architecture
        self._seed = seed
        self._has_dropout = has_dropout(model)
        #: The micro-batches since the last step.
        self._pending: list[_MicroBatch] = []
        self._tally = LossTally(vocabulary)
        self.last_step: TakenStep | None = None
        #: The packed rows of the last step if its gradients overflowed fp16 and the scaler skipped it, else empty.
        self.overflowed_rows: list[int] = []
        #: How often the current step has overflowed.
        self.overflows = 0
        self.last_evaluation: EvaluationReport | None = None
        #: The last figures of generated music by name, for bundles.
        self.music: Mapping[str, float] = {}
        #: The last copy rates as plain values, for bundles; empty: they are not measured.
        self.copies: Mapping[str, Any] = {}
        #: Optimiser steps before the checkpoint that the run resumed from.
        self.steps_before = 0
        #: Changes since the checkpoint; None: a new run.
        self.changes: Changes | None = None
        #: Hyperparameters of the optimiser's groups from the settings.
        self._hyperparameters: list[dict[str, Any]] = []

    @property
    def has_new_evaluation(self) -> bool:
        """Whether the losses of the resumed run cannot be compared with those before."""
        return self.changes is not None and self.changes.new_evaluation

    def configure_model(self) -> None:
        split_over_ranks(self.model, self.trainer)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        ids = batch["input_ids"]
        logits: Tensor = self.model(ids, position_ids=batch["position_ids"], document_ids=batch["document_ids"])
        if logits.shape != (*ids.shape, self.vocabulary.size):
            shape, expected = list(logits.shape), [*ids.shape, self.vocabulary.size]
            problem = TypeError(f"forward() returned logits of shape {shape}, not {expected}")
            raise ComponentError(self._architecture, f"step {self.trainer.global_step + 1}", problem)
        return logits

    # --- training ----------------------------------------------------------------------------------------------------

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        labels = counted_labels(batch, self._loss_on)
        with self._dropout_of(batch):
            row_losses = token_losses(self(batch), labels).sum(dim=1)
        predicted = (labels != IGNORED_LABEL).sum()
        padding = (batch["document_ids"] < 0).sum()
        self._pending.append(
            _MicroBatch(
                rows=batch["row"],
                losses=row_losses.detach(),
                predicted=predicted,
                padding=padding,
                positions=labels.numel(),
                # The sum of 2 p + 1 for p < n is n squared; padding has place 0.
                pairs=2 * places(batch["document_ids"]).sum() + labels.numel() - padding,
                tokens_by_set=batch["tokens_by_set"].sum(dim=0),
            )
        )
        # Any constant would do: `configure_gradient_clipping` divides by the tokens of the whole step.
        return row_losses.sum() / labels.numel()

    @contextmanager
    def _dropout_of(self, batch: Mapping[str, Tensor]) -> Iterator[None]:
        """Seed torch's generators for a forward pass by the rows of its batch, and restore them afterwards: what
        dropout leaves out depends neither on where a run was stopped nor on other ranks."""
        if not self._has_dropout:
            yield
            return
        gpus = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            torch.manual_seed(int(derive(self._seed, Stage.DROPOUT, int(batch["row"][0]))[0] >> 1))
            yield

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Scale the gradients to the mean over tokens, reject non-finite ones, and clip, in one pass."""
        pending, self._pending = self._pending, []
        counts = torch.stack([micro_batch.counts() for micro_batch in pending]).sum(dim=0)
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        norm_of_parts = whole(torch.nn.utils.get_total_norm(gradients)).float()
        # Everything that ranks share goes into one reduction: a second one would wait for the device again.
        flags = counts.new_tensor(self._signals.flags())
        total = self.trainer.strategy.reduce(torch.cat([counts, flags]), reduce_op="sum")
        loss, predicted, padding, positions, pairs, *rest, norm = torch.stack([*total, norm_of_parts]).tolist()
        by_set, asked = rest[: -len(flags)], rest[-len(flags) :]
        self._signals.agree(asked)
        predicted = max(predicted, 1.0)
        # Lightning averaged the micro-batches' `loss / positions` over micro-batches and ranks.
        scale = positions / predicted
        norm *= scale
        self._refuse_non_finite(loss, norm, pending)
        self.overflowed_rows = [] if math.isfinite(norm) else _rows(pending)
        if self.overflowed_rows:
            self.last_step = None
            return
        clip = self.settings.gradient_clip
        factor = scale * min(1.0, clip / (norm + 1e-6)) if clip > 0 else scale
        for gradient in gradients:
            gradient.mul_(factor)
        self.last_step = TakenStep(
            loss=loss / predicted,
            gradient_norm=norm,
            learning_rate=optimizer.param_groups[0]["lr"],
            predicted=int(predicted),
            padding=int(padding),
            positions=int(positions),
            pairs=int(pairs),
            tokens_by_set=tuple(map(int, by_set)),
            overflows=self.overflows,
        )

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Advance the learning rate only if the step was taken."""
        if not self.overflowed_rows:
            super().lr_scheduler_step(scheduler, metric)

    def name_rows(self, rows: Sequence[int]) -> str:
        """The pieces of the first of ``rows``, for messages."""
        more = "; …" if len(rows) > _ROWS_NAMED else ""
        return f"{'; '.join(self._name_pieces(rows[:_ROWS_NAMED]))}{more}"

    def _refuse_non_finite(self, loss: float, norm: float, pending: Sequence[_MicroBatch]) -> None:
        """Raise before the weights change. The gradient scaler of fp16 skips overflowed gradients by itself."""
        if math.isfinite(loss) and (math.isfinite(norm) or self.trainer.precision == "16-mixed"):
            return
        what = "gradient" if math.isfinite(loss) else "loss"
        # Every rank raises this error, and the user may read any of the messages.
        bad = gathered(_rows(pending) if what == "gradient" else _non_finite_rows(pending))
        raise TrainingError(
            f"step {self.trainer.global_step + 1}: the {what} is not finite in {len(bad)} packed rows"
            f" ({self.name_rows(bad)}). The step was not taken."
            " Resume from the last checkpoint with a lower learning_rate or gradient_clip, or with precision fp32."
        )

    def configure_optimizers(self) -> Any:
        # A fused optimiser unscales by itself, too late for clipping.
        fused = self.device.type in ("cpu", "cuda") and self.trainer.precision != "16-mixed"
        optimizer = build_optimizer(self.model, self.settings, fused=fused, adapted=self.adapted is not None)
        self._hyperparameters = hyperparameters(optimizer)
        schedule = build_schedule(optimizer, self.settings)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["midigpt"] = self._identity.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.changes = self._identity.check(checkpoint["midigpt"], accept_new_data=self._accept_new_data)
        self.steps_before = int(checkpoint["global_step"])
        try:
            recount_micro_batches(checkpoint, self.trainer.accumulate_grad_batches)
        except (KeyError, TypeError) as error:
            raise _altered("its counters are not those of a run") from error
        for name in ("optimizer_states", "lr_schedulers"):
            if len(checkpoint[name]) != 1:
                raise _altered(f"it has {len(checkpoint[name])} {name}, not one")

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        try:
            return super().load_state_dict(state_dict, strict=strict, assign=assign)
        except RuntimeError as error:
            # The first line names the module, the others name tensors.
            first = [line.strip() for line in str(error).splitlines()[:2]][-1]
            raise _altered(f"its weights do not fit the model: {first[:200]}") from error

    def on_train_start(self) -> None:
        """When a run resumes, apply its settings and log what changed."""
        if self.changes is None:
            return
        step, optimizer = self.trainer.global_step, self.trainer.optimizers[0]
        before = optimizer.param_groups[0]["lr"]
        reset(optimizer, self.trainer.lr_scheduler_configs[0].scheduler, self._hyperparameters)
        for line in self.changes.lines(step):
            _log.warning("%s", line)
        if self.changes.rate:
            rate = optimizer.param_groups[0]["lr"]
            _log.warning("step %d has a learning rate of %g; before, it would have had %g.", step + 1, rate, before)

    # --- validation --------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._tally = LossTally(self.vocabulary)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self._tally.add(token_losses(self(batch), batch["labels"]), batch)

    def on_validation_epoch_end(self) -> None:
        if self.trainer.world_size > 1:
            sums = torch.from_numpy(self._tally.sums).to(self.device)
            self._tally.sums = self.trainer.strategy.reduce(sums, reduce_op="sum").cpu().numpy()
        self.last_evaluation = self._tally.report()
        # For callbacks that watch a metric; StepReporter reports the figures. The value is the same on all ranks.
        self.log("eval_loss", self.last_evaluation.loss, logger=False, sync_dist=True)
