"""What makes a run the run it is: what a checkpoint must share with the run that continues it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from attrs import asdict, frozen

from midigpt_core import terminal
from midigpt_core.errors import CheckpointError
from midigpt_core.training.resume import differences, require_same

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midigpt_core.records import Vocabulary
    from midigpt_core.training.prepare import Plan

_log = terminal.logger("midigpt_core.training")


@frozen(kw_only=True)
class RunIdentity:
    """Plain values, stored in every resumable checkpoint."""

    #: Architecture, encoder and vocabulary: what the weights belong to.
    model: Mapping[str, Any]
    #: The music that rows are drawn from.
    corpus: Mapping[str, Any]
    #: Everything else on which the next loss depends, to the last bit.
    stream: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {"model": dict(self.model), "corpus": dict(self.corpus), "stream": dict(self.stream)}

    def check(self, saved: Mapping[str, Any], *, accept_new_data: bool) -> None:
        """Say so if the run will go on differently than the one that was stopped would have.

        Raises :class:`midigpt_core.errors.CheckpointError`, naming the first field that differs, if the weights are of
        another model, or the corpus is another one and ``accept_new_data`` is not set.
        """
        require_same(
            self.model, saved.get("model", {}), "the checkpoint is of another model", "Give it the run it belongs to."
        )
        changes = [*differences({"corpus": dict(self.corpus)}, {"corpus": dict(saved.get("corpus", {}))})]
        if changes and not accept_new_data:
            path, ours, theirs = changes[0]
            raise CheckpointError(
                f"the corpus is not the one of the checkpoint: {path} was {theirs!r} and is {ours!r}. Give the data of"
                " that run, or go on with the new data by --accept-new-data (accept_new_data=True)."
            )
        changes = [*changes[:1], *differences(dict(self.stream), dict(saved.get("stream", {})))]
        for path, ours, theirs in changes:
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
            "vocabulary": _vocabulary(plan.encoder.vocabulary),
        },
        corpus={
            # First what says most to a reader.
            "pieces": plan.train_pieces.corpus_pieces,
            "shards": len(plan.train_pieces.shards),
            "fingerprint": plan.train_pieces.fingerprint,
        },
        stream={
            "settings": asdict(plan.training.settings),
            "set_weights": {one.name: one.weight for one in plan.train_sets},
            "mask": plan.training.mask.name if plan.training.mask else None,
            "batch_size": config.batch_size,
            "accumulation": config.accumulation,
            "ranks": config.devices * config.num_nodes,
            "precision": config.precision,
            "loss_on": config.loss_on,
            "threads": torch.get_num_threads(),
        },
    )


def _vocabulary(vocabulary: Vocabulary) -> dict[str, Any]:
    """An encoder's configuration does not say all of it: another version of its plugin may number tokens otherwise."""
    tokens = np.stack([vocabulary.type_of.astype("<i4"), vocabulary.value_of.astype("<i4")])
    return {
        "size": vocabulary.size,
        "types": list(vocabulary.type_names),
        "tokens": hashlib.sha256(tokens.tobytes()).hexdigest(),
    }
