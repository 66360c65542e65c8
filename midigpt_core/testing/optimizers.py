"""Checks for optimisers, with a small model on the CPU."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from midigpt_core.training.loop.optimization import OptimizationSettings, build_optimizer

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from midigpt_core.testing.general import Subject

VOCAB = 11
_WIDTH = 8
_STEPS = 3


class _Model(nn.Module):
    """Embedding, blocks, norm and head; one block is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, _WIDTH)
        self.blocks = nn.ModuleList([nn.Linear(_WIDTH, _WIDTH), nn.Linear(_WIDTH, _WIDTH)])
        self.norm = nn.LayerNorm(_WIDTH)
        self.head = nn.Linear(_WIDTH, VOCAB)
        self.blocks[1].requires_grad_(False)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.embedding(tokens)
        for block in self.blocks:
            hidden = hidden + torch.tanh(block(hidden))
        logits: Tensor = self.head(self.norm(hidden))
        return logits


def check_every_trained_weight_is_stepped_and_no_frozen_one(subject: Subject) -> None:
    model, optimizer = _model_and_optimizer(subject)
    before = _weights(model)
    _train(model, optimizer, _STEPS)
    for name, parameter in model.named_parameters():
        stays = torch.equal(parameter, before[name])
        what = "was not stepped" if stays else "is frozen, but was stepped"
        assert stays != parameter.requires_grad, f"{name} {what}"


def check_a_rate_of_zero_changes_nothing(subject: Subject) -> None:
    """Warm-up begins at a rate of zero, and every group follows the schedule."""
    model, optimizer = _model_and_optimizer(subject)
    before = _weights(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    _train(model, optimizer, _STEPS)
    changed = [name for name, tensor in _weights(model).items() if not torch.equal(tensor, before[name])]
    assert not changed, f"{', '.join(changed)} changed, although every group's rate was 0"


def check_the_loss_falls(subject: Subject) -> None:
    model, optimizer = _model_and_optimizer(subject)
    losses = _train(model, optimizer, 60)
    assert losses[-1] < losses[0], f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses)} steps"


def check_it_goes_on_as_if_it_had_not_been_stopped(subject: Subject) -> None:
    model, optimizer = _model_and_optimizer(subject)
    _train(model, optimizer, 2 * _STEPS)
    expected = _weights(model)
    model, optimizer = _model_and_optimizer(subject)
    _train(model, optimizer, _STEPS)
    weights, state = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    _require_plain(state)
    model, optimizer = _model_and_optimizer(subject)
    model.load_state_dict(weights)
    optimizer.load_state_dict(state)
    _train(model, optimizer, _STEPS)
    differing = [name for name, tensor in _weights(model).items() if not torch.equal(tensor, expected[name])]
    assert not differing, f"{', '.join(differing)} differ after the state was saved and loaded"


def check_it_draws_from_no_global_generator(subject: Subject) -> None:
    before = torch.get_rng_state()
    model, optimizer = _model_and_optimizer(subject)
    _train(model, optimizer, 1)
    assert torch.equal(torch.get_rng_state(), before), "torch's global generator was used"


def _require_plain(value: object) -> None:
    """Checkpoints contain only tensors and plain values, so that reading one runs no code from it."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for inner in value:
            _require_plain(inner)
    else:
        plain = value is None or isinstance(value, torch.Tensor | str | int | float)
        assert plain, f"the state contains a {type(value).__name__}, which a checkpoint cannot store"


def _model_and_optimizer(subject: Subject) -> tuple[_Model, Optimizer]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = _Model()
    settings = OptimizationSettings(
        optimizer=subject.ref,
        learning_rate=1e-2,
        weight_decay=0.01,
        betas=(0.9, 0.999),
        scheduler="constant",
        warmup_steps=0,
        max_steps=100,
        gradient_clip=0.0,
    )
    return model, build_optimizer(model, settings, fused=False)


def _train(model: _Model, optimizer: Optimizer, steps: int) -> list[float]:
    """The losses of ``steps`` steps on the same tokens, each followed by its successor."""
    tokens = torch.arange(VOCAB)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = cross_entropy(model(tokens), tokens.roll(-1))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses


def _weights(model: _Model) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
