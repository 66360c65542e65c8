"""What makes a run the run it is: what a checkpoint must share with the run that continues it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from attrs import asdict, frozen

from midigpt_core.training.resume import first_difference, require_same

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midigpt_core.training.prepare import Plan

_log = logging.getLogger("midigpt_core.training")


@frozen(kw_only=True)
class RunIdentity:
    """Plain values, stored in every resumable checkpoint."""

    #: Architecture and encoder: what the weights belong to.
    model: Mapping[str, Any]
    #: Everything else on which the next loss depends, to the last bit.
    stream: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {"model": dict(self.model), "stream": dict(self.stream)}

    def check(self, saved: Mapping[str, Any]) -> None:
        """Raise :class:`midigpt_core.errors.CheckpointError` if the weights are of another model; say so if the run
        will go on differently than the one that was stopped would have."""
        require_same(
            self.model, saved.get("model", {}), "the checkpoint is of another model", "Give it the run it belongs to."
        )
        difference = first_difference(dict(self.stream), dict(saved.get("stream", {})))
        if difference:
            path, ours, theirs = difference
            _log.warning("%s was %s and is %s: the run does not continue bit for bit.", path, theirs, ours)


def identify(plan: Plan, model: Any) -> RunIdentity:
    config = plan.config
    return RunIdentity(
        model={
            **({"freeze": list(config.freeze)} if config.freeze else {}),
            "architecture": plan.chosen.architecture.name,
            "architecture_config": dict(model.architecture_config()),
            "encoder": plan.chosen.encoder.name,
            "encoder_config": dict(plan.encoder.to_config()),
        },
        stream={
            "corpus": plan.train_pieces.fingerprint,
            "settings": asdict(plan.training.settings),
            "set_weights": {one.name: one.weight for one in plan.train_sets},
            "mask": plan.training.mask.name if plan.training.mask else None,
            "batch_size": config.batch_size,
            "accumulation": config.accumulation,
            "precision": config.precision,
            "loss_on": config.loss_on,
            "threads": torch.get_num_threads(),
        },
    )
