"""Converts configuration files of midigpt 0.4.2 to today's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import Factory, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Old name -> today's name, where the value has the same meaning.
_RENAMED: Mapping[str, str] = {
    "per_device_batch_size": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "lr": "learning_rate",
    "lr_scheduler_type": "scheduler",
    "gradient_accumulation_steps": "accumulation",
    "max_grad_norm": "gradient_clip",
    "gradient_clip_val": "gradient_clip",
    "logging_steps": "log_steps",
    "save_total_limit": "keep_checkpoints",
    "dataloader_num_workers": "num_workers",
    "torch_compile": "compile",
    "num_devices": "devices",
}

#: Old names without a counterpart, and what to do instead.
_WITHOUT_COUNTERPART: Mapping[str, str] = {
    "num_epochs": "training ends after max_steps optimiser steps; 'midigpt train --dry-run' prints the steps of a pass",
    "num_train_epochs": "training ends after max_steps optimiser steps",
    "warmup_ratio": "set warmup_steps to this share of max_steps",
    "per_device_eval_batch_size": "evaluation uses batch_size; eval_rows is the number of packed rows",
    "adam_epsilon": "the optimiser's own 1e-8 is used",
    "wandb_project": "kept only with logger wandb, as its option project",
    "wandb_entity": "kept only with logger wandb, as its option entity",
    "limit_val_batches": "evaluation reads eval_rows packed rows; set that instead",
    # 0.4.2's default, under which num_epochs counts.
    "max_steps": "0 stood for num_epochs; set the number of optimiser steps, which is 100,000 otherwise",
}
#: Options of the logger wandb under the names that the configuration had.
_OF_WANDB: Mapping[str, str] = {"wandb_project": "project", "wandb_entity": "entity"}


@frozen
class Conversion:
    """The result: today's values, the renamed settings, and the omitted ones with reasons."""

    values: dict[str, Any]
    renamed: dict[str, str] = Factory(dict)
    left_out: dict[str, str] = Factory(dict)


def current_name(old: str) -> str | None:
    """Today's name of a midigpt 0.4.2 setting, or None."""
    return _RENAMED.get(old)


def convert(old: Mapping[str, Any], names: frozenset[str]) -> Conversion:
    """Convert plain values; ``names`` are today's settings, which are kept unchanged."""
    values: dict[str, Any] = {
        name: value for name, value in old.items() if name in names and not _stood_for_epochs(name, value)
    }
    renamed: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name, value in old.items():
        if name in values:
            continue
        if name in _RENAMED and _RENAMED[name] not in values:
            values[_RENAMED[name]] = value
            renamed[name] = _RENAMED[name]
        elif name in ("fp16", "bf16") and isinstance(value, bool):
            if value:
                values["precision"] = name
            renamed[name] = "precision"
        elif name in _OF_WANDB and old.get("logger") == "wandb" and isinstance(value, str):
            # An empty text is the old way to leave the option out.
            if value:
                options = values["logger"] if isinstance(values["logger"], dict) else {"name": "wandb"}
                values["logger"] = {**options, _OF_WANDB[name]: value}
            renamed[name] = f"logger.{_OF_WANDB[name]}"
        elif name in _RENAMED:
            left_out[name] = f"the file also sets {_RENAMED[name]}, which was kept"
        else:
            left_out[name] = _WITHOUT_COUNTERPART.get(name, "no setting of this meaning")
    return Conversion(values, renamed, left_out)


def _stood_for_epochs(name: str, value: Any) -> bool:
    return name == "max_steps" and value == 0 and not isinstance(value, bool)
