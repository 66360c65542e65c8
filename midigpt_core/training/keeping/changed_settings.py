"""The effect of changing a setting between a checkpoint and the run that continues it: one table for all settings."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from midigpt_core.config import choices
from midigpt_core.config.train import FSDP
from midigpt_core.config.train_sets import set_names
from midigpt_core.errors import CheckpointError
from midigpt_core.kinds import RUN_KINDS
from midigpt_core.training.planning.resume import MISSING, differences

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from midigpt_core.components import ComponentRef
    from midigpt_core.config import TrainConfig
    from midigpt_core.data.settings import StreamSettings


class Effect(Enum):
    """What changing the value does."""

    #: An error.
    REFUSED = "refused"
    #: An error if it gives another model, encoder or vocabulary. These are compared themselves, not their settings.
    #: Otherwise it changes nothing.
    MODEL = "refused if it gives another model"
    #: It takes effect: from the next step on the run differs from the uninterrupted run.
    COURSE = "takes effect"
    #: It takes effect: the next step uses the learning rate of the new settings.
    RATE = "takes effect on the learning rate"
    #: It takes effect: evaluations cannot be compared with earlier ones.
    EVALUATION = "takes effect on evaluations"
    #: It takes effect, and losses and weights do not depend on it.
    AROUND = "takes effect, losses and weights stay the same"


#: The bundled plugin whose optimisers are recorded without its name.
BUNDLED_OPTIMIZERS = "optimizers"

#: Every field of :class:`midigpt_core.config.TrainConfig`.
ON_RESUME: Mapping[str, Effect] = {
    "encoder_config_path": Effect.MODEL,
    "n_embd": Effect.MODEL,
    "n_layer": Effect.MODEL,
    "n_head": Effect.MODEL,
    "n_positions": Effect.MODEL,
    "max_seq_len": Effect.COURSE,
    "num_bars_choices": Effect.COURSE,
    "min_tracks": Effect.COURSE,
    "max_tracks": Effect.COURSE,
    "min_fill_ratio": Effect.COURSE,
    "infill_probability": Effect.COURSE,
    "infill_bar_fraction": Effect.COURSE,
    "mask_apply_probability": Effect.COURSE,
    "mask_mode": Effect.COURSE,
    "learning_rate": Effect.RATE,
    "batch_size": Effect.COURSE,
    "max_steps": Effect.RATE,
    "warmup_steps": Effect.RATE,
    "precision": Effect.COURSE,
    "num_workers": Effect.AROUND,
    "save_steps": Effect.AROUND,
    "eval_steps": Effect.AROUND,
    "logger": Effect.AROUND,
    "output_dir": Effect.AROUND,
    # The corpora are compared instead, piece by piece.
    "source": Effect.AROUND,
    "encoder": Effect.MODEL,
    "mask": Effect.COURSE,
    "architecture": Effect.MODEL,
    # Except its options: see Change.effect.
    "optimizer": Effect.REFUSED,
    "checkpoint_format": Effect.AROUND,
    # The checkpoint has weights and optimiser state of the adapter alone.
    "adapter": Effect.REFUSED,
    "mask_bar_fraction": Effect.COURSE,
    "mask_max_lookahead": Effect.COURSE,
    # As the encoder has it, part of whose configuration it is.
    "infill_positions": Effect.MODEL,
    "infill_track_probability": Effect.COURSE,
    "loss_on": Effect.COURSE,
    "train_sets": Effect.COURSE,
    # What is left out is not trained on.
    "deduplicate": Effect.COURSE,
    "transpose_range": Effect.COURSE,
    "velocity_scale": Effect.COURSE,
    "time_stretch_probability": Effect.COURSE,
    "bar_rotation_probability": Effect.COURSE,
    "track_dropout": Effect.COURSE,
    "genre_probability": Effect.COURSE,
    "velocity_off_probability": Effect.COURSE,
    "microtiming_off_probability": Effect.COURSE,
    "attributes_off_probability": Effect.COURSE,
    "attribute_dropout": Effect.COURSE,
    "seed": Effect.COURSE,
    "muon_learning_rate": Effect.COURSE,
    "weight_decay": Effect.COURSE,
    "adam_beta1": Effect.COURSE,
    "adam_beta2": Effect.COURSE,
    "gradient_clip": Effect.COURSE,
    "accumulation": Effect.COURSE,
    "scheduler": Effect.RATE,
    "packing": Effect.COURSE,
    "compile": Effect.COURSE,
    "gradient_checkpointing": Effect.COURSE,
    "devices": Effect.COURSE,
    "num_nodes": Effect.COURSE,
    # Exception: a run whose weights were not split cannot switch to fsdp, see Change.effect.
    "strategy": Effect.COURSE,
    "collective_timeout": Effect.AROUND,
    # The weights come from the checkpoint: another bundle would only add its name and data sources.
    "init_from": Effect.REFUSED,
    # The checkpoint has optimiser state only for the weights that were trained.
    "freeze": Effect.REFUSED,
    "keep_checkpoints": Effect.AROUND,
    "log_steps": Effect.AROUND,
    "sample_steps": Effect.AROUND,
    "sample_audio": Effect.AROUND,
    "soundfont": Effect.AROUND,
    # What is held out is not trained on.
    "eval_share": Effect.COURSE,
    "eval_rows": Effect.EVALUATION,
    "music": Effect.AROUND,
    "music_pieces": Effect.AROUND,
    "music_copy_sample": Effect.AROUND,
    # It changes which step is the best.
    "copy_limit": Effect.AROUND,
    "copy_excerpts": Effect.AROUND,
    # The steps that are taken are the same.
    "patience": Effect.AROUND,
    "metrics": Effect.AROUND,
    "workers": Effect.AROUND,
    "run_name": Effect.AROUND,
}


@frozen
class Change:
    """A changed setting: a field, or an option of a component (``"mask.bar_fraction"``)."""

    path: str
    was: Any
    value: Any

    @property
    def effect(self) -> Effect:
        if (self.path, self.value) == ("strategy", FSDP):
            # fsdp stores optimiser state by parameter name, the other strategies by number.
            return Effect.REFUSED
        if self.path.startswith("optimizer.") and self.path != "optimizer.name":
            # The optimiser's state can be used with other options.
            return Effect.COURSE
        return ON_RESUME[self.path.partition(".")[0].partition("[")[0]]

    def __str__(self) -> str:
        return f"{self.path} was {self.was} and is {self.value}"


def effective_settings(
    config: TrainConfig, stream: StreamSettings, precision: str, optimizer: ComponentRef, adapter: Mapping[str, Any]
) -> dict[str, Any]:
    """Every field as a plain value, as it takes effect, however the user wrote it.

    Components have all their options, in place of short spellings. Fields of ``stream`` are limited to what the encoder
    supports, ``precision`` to what the machine supports. ``adapter`` has all options of the adapter.
    """
    values = {**config.to_dict(), **attrs.asdict(stream), "precision": precision}
    for kind in RUN_KINDS:
        values[kind.setting] = config.choice(kind)
        for spelling in choices.short_spellings(kind):
            del values[spelling]
    # One spelling of the name: a changed name is an error.
    name = optimizer.name if optimizer.plugin == BUNDLED_OPTIMIZERS else f"{optimizer.plugin}/{optimizer.name}"
    values["optimizer"] = {"name": name, **optimizer.options}
    values["adapter"] = dict(adapter)
    # The pieces of the sets are compared as part of the corpus.
    names = set_names(config.train_sets)
    values["train_sets"] = {name: one.weight for name, one in zip(names, config.train_sets, strict=True)}
    # Tuples become lists. The order is the order of declaration.
    return {name: json.loads(json.dumps(values[name])) for name in ON_RESUME if name in values}


def changes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[Change]:
    """The changed settings, in the order of the configuration.

    Fields missing in ``theirs``, the settings of an earlier version, are left out.
    """
    for name, value in ours.items():
        was = theirs.get(name, value)
        if isinstance(value, dict) and isinstance(was, dict):
            yield from (Change(path, before, now) for path, now, before in differences(value, was, name))
        elif value != was:
            yield Change(name, was, value)


def refuse(change: Change) -> None:
    """Raise :class:`CheckpointError` for a setting that a run cannot change."""
    if change.effect is Effect.REFUSED:
        was = "not set" if change.was in ("", [], MISSING) else repr(change.was)
        raise CheckpointError(
            f"{change.path} is {change.value!r}, but was {was} in the run that is continued. Restore it; or start a new"
            " run from these weights, with another output_dir and init_from set to a bundle of this run."
        )
