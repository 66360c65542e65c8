"""The model at the start of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen

from midigpt_core.checkpoint import build_model, load_checkpoint
from midigpt_core.checkpoint.adapters import weights_hash
from midigpt_core.contracts import ArchitectureContext
from midigpt_core.keys import Stage, derive
from midigpt_core.plugins import build
from midigpt_core.training.loop.adapting import attach
from midigpt_core.training.loop.freezing import freeze

if TYPE_CHECKING:
    import os

    from torch import nn

    from midigpt_core.components import ComponentRef
    from midigpt_core.config import TrainConfig
    from midigpt_core.training.loop.adapting import Adapted
    from midigpt_core.training.planning.prepare import Plan


@frozen(eq=False, kw_only=True)
class Beginning:
    """A model that is ready to be trained."""

    model: nn.Module
    #: The adapter in it; None: its own weights are trained.
    adapted: Adapted | None
    #: The hash of the weights that it starts from (:func:`midigpt_core.checkpoint.adapters.weights_hash`); empty: they
    #: are new.
    base_weights: str = ""


def beginning(plan: Plan) -> Beginning:
    """The model of a run with the weights of ``init_from``, or new ones drawn from the seed, and with its adapter."""
    config = plan.config
    if plan.base is None:
        model, weights = _new(config, plan.chosen.architecture, plan.encoder.vocab_size), ""
    else:
        model = _of_bundle(plan.base.path)
        weights = weights_hash(model.state_dict())
    return Beginning(
        model=model, adapted=prepare_for_training(model, config, plan.chosen.adapter), base_weights=weights
    )


def initial_model(config: TrainConfig, architecture: ComponentRef, vocab_size: int) -> nn.Module:
    """A model with the weights of ``init_from``, or new ones drawn from the seed, without an adapter. torch's generator
    is not changed."""
    model = _of_bundle(config.init_from) if config.init_from else _new(config, architecture, vocab_size)
    prepare_for_training(model, config)
    return model


def prepare_for_training(model: Any, config: TrainConfig, adapter: ComponentRef | None = None) -> Adapted | None:
    """Apply the settings that change the model: frozen weights, the adapter and gradient checkpointing."""
    freeze(model, config.freeze)
    adapted = None if adapter is None else attach(adapter, model, config.seed)
    if config.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    return adapted


def _of_bundle(path: str | os.PathLike[str]) -> nn.Module:
    return build_model(load_checkpoint(path, dtype=torch.float32), path=path).train()


def _new(config: TrainConfig, architecture: ComponentRef, vocab_size: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(derive(config.seed, Stage.INIT)[0]))
        return fresh_model(config, architecture, vocab_size)


def fresh_model(config: TrainConfig, architecture: ComponentRef, vocab_size: int) -> nn.Module:
    """A model with weights from torch's default generator, on the default device."""
    model: nn.Module = build(architecture, ArchitectureContext(vocab_size=vocab_size, max_seq_len=config.n_positions))
    return model
