"""The model at the start of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from midigpt_core.checkpoint import build_model, load_checkpoint
from midigpt_core.contracts import ArchitectureContext
from midigpt_core.keys import Stage, derive
from midigpt_core.plugins import build
from midigpt_core.training.loop.freezing import freeze

if TYPE_CHECKING:
    from torch import nn

    from midigpt_core.components import ComponentRef
    from midigpt_core.config import TrainConfig


def initial_model(config: TrainConfig, architecture: ComponentRef, vocab_size: int) -> nn.Module:
    """A model with the weights of ``init_from``, or new ones drawn from the seed. torch's generator is not changed."""
    model = _with_weights(config, architecture, vocab_size)
    prepare_for_training(model, config)
    return model


def prepare_for_training(model: Any, config: TrainConfig) -> None:
    """Apply the settings that change the model: frozen weights and gradient checkpointing."""
    freeze(model, config.freeze)
    if config.gradient_checkpointing:
        model.enable_gradient_checkpointing()


def _with_weights(config: TrainConfig, architecture: ComponentRef, vocab_size: int) -> nn.Module:
    if config.init_from:
        bundle = load_checkpoint(config.init_from, dtype=torch.float32)
        return build_model(bundle, path=config.init_from).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(derive(config.seed, Stage.INIT)[0]))
        return fresh_model(config, architecture, vocab_size)


def fresh_model(config: TrainConfig, architecture: ComponentRef, vocab_size: int) -> nn.Module:
    """A model with weights from torch's default generator, on the default device."""
    model: nn.Module = build(architecture, ArchitectureContext(vocab_size=vocab_size, max_seq_len=config.n_positions))
    return model
