"""The training loop's view of a model: loss, optimiser step, validation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from lightning.pytorch import LightningModule

from midigpt_core.errors import TrainingError
from midigpt_core.records import IGNORED_LABEL
from midigpt_core.training.losses import LossTally, summed_loss, token_losses
from midigpt_core.training.optimization import build_optimizer, build_schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor, nn
    from torch.optim import Optimizer

    from midigpt_core.records import Vocabulary
    from midigpt_core.training.losses import EvaluationReport
    from midigpt_core.training.optimization import OptimizationSettings

_PIECES_NAMED = 4


@frozen(kw_only=True)
class TakenStep:
    """The optimiser step just taken, over all micro-batches and ranks."""

    #: Mean over the predicted tokens, in nats.
    loss: float
    #: Before clipping.
    gradient_norm: float
    learning_rate: float
    #: Tokens that were predicted, positions that are padding, and all positions.
    tokens: int
    padding: int
    positions: int


class TrainingModule(LightningModule):
    """Trains ``model``, a :class:`midigpt_core.contracts.Architecture`, on packed rows.

    The loss of an optimiser step is the mean over the *tokens* of its micro-batches on all ranks: a row with little
    in it weighs little, and four micro-batches of one row give the gradients of one batch of four.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: OptimizationSettings,
        vocabulary: Vocabulary,
        name_pieces: Callable[[Sequence[int]], Sequence[str]],
    ) -> None:
        """``name_pieces`` gives the pieces that rows of the token stream were made of, for messages."""
        super().__init__()
        self.model = model
        self.settings = settings
        self.vocabulary = vocabulary
        self._name_pieces = name_pieces
        #: Loss sum, predicted tokens, padding, positions of each micro-batch since the last step; and its rows.
        self._pending: list[Tensor] = []
        self._pending_rows: list[Tensor] = []
        self._tally = LossTally(vocabulary)
        self.last_step: TakenStep | None = None
        self.last_evaluation: EvaluationReport | None = None

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = self.model(
            batch["input_ids"], position_ids=batch["position_ids"], document_ids=batch["document_ids"]
        )
        return logits

    # --- training ----------------------------------------------------------------------------------------------------

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        labels = batch["labels"]
        loss = summed_loss(self(batch), labels)
        tokens = (labels != IGNORED_LABEL).sum()
        padding = (batch["document_ids"] < 0).sum()
        positions = torch.full_like(tokens, labels.numel())
        self._pending.append(torch.stack([loss.detach().float(), tokens, padding, positions]))
        self._pending_rows.append(batch["row"])
        # Any constant would do: `configure_gradient_clipping` divides by the tokens of the whole step.
        return loss / labels.numel()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Turn the gradients into those of the token mean, refuse what is not finite, clip: one pass over them."""
        losses = torch.stack(self._pending)
        total = self.trainer.strategy.reduce(losses.sum(dim=0), reduce_op="sum")
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        raw_norm = torch.nn.utils.get_total_norm(gradients)
        loss, tokens, padding, positions, norm = torch.stack([*total, raw_norm]).tolist()
        # Lightning averaged the micro-batches' `loss / positions` over micro-batches and ranks.
        scale = positions / max(tokens, 1.0)
        norm *= scale
        self._refuse_non_finite(loss, norm, losses[:, 0])
        clip = self.settings.gradient_clip
        factor = scale * min(1.0, clip / (norm + 1e-6)) if clip > 0 else scale
        for gradient in gradients:
            gradient.mul_(factor)
        self.last_step = TakenStep(
            loss=loss / max(tokens, 1.0),
            gradient_norm=norm,
            learning_rate=optimizer.param_groups[0]["lr"],
            tokens=int(tokens),
            padding=int(padding),
            positions=int(positions),
        )
        self._pending.clear()
        self._pending_rows.clear()

    def _refuse_non_finite(self, loss: float, norm: float, losses: Tensor) -> None:
        """Stop before the weights are touched. The gradient scaler of fp16 skips overflowed gradients by itself."""
        scaled = self.trainer.precision == "16-mixed"
        if math.isfinite(loss) and (math.isfinite(norm) or scaled):
            return
        what = "gradient" if math.isfinite(loss) else "loss"
        bad = torch.ones_like(losses, dtype=torch.bool) if what == "gradient" else ~losses.isfinite()
        rows = [int(row) for rows, hit in zip(self._pending_rows, bad, strict=True) if hit for row in rows]
        pieces = list(dict.fromkeys(self._name_pieces(rows)))
        more = f" and {len(pieces) - _PIECES_NAMED} more" if len(pieces) > _PIECES_NAMED else ""
        raise TrainingError(
            f"step {self.trainer.global_step + 1}: the {what} is not finite"
            f" (pieces {', '.join(pieces[:_PIECES_NAMED])}{more}); the step was not taken."
            " Resume from the last checkpoint with a lower learning_rate or gradient_clip, or with precision fp32."
        )

    def configure_optimizers(self) -> Any:
        # A fused optimiser unscales by itself, which leaves nothing to clip before it.
        fused = self.device.type in ("cpu", "cuda") and self.trainer.precision != "16-mixed"
        optimizer = build_optimizer(self.model, self.settings, fused=fused)
        schedule = build_schedule(optimizer, self.settings)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # --- validation --------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._tally = LossTally(self.vocabulary)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self._tally.add(token_losses(self(batch), batch["labels"]), batch)

    def on_validation_epoch_end(self) -> None:
        sums = torch.from_numpy(self._tally.sums).to(self.device)
        self._tally.sums = self.trainer.strategy.reduce(sums, reduce_op="sum").cpu().numpy()
        self.last_evaluation = self._tally.report()
        # For callbacks that watch a metric; the figures themselves travel by StepReporter.
        self.log("eval_loss", self.last_evaluation.loss, logger=False)
