"""Checks for adapters, with a small model on the CPU. Those for an adapter that is None check nothing else."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import cross_entropy
from transformers.pytorch_utils import Conv1D

from midigpt_core.checkpoint.adapters import StoredAdapter, load_adapter, merged_weights, save_adapter
from midigpt_core.errors import CheckpointError
from midigpt_core.testing.general import process_registry
from midigpt_core.training.loop.adapting import attach

if TYPE_CHECKING:
    from torch import Tensor

    from midigpt_core.testing.general import Subject
    from midigpt_core.training.loop.adapting import Adapted

VOCAB = 11
_WIDTH = 8
_STEPS = 4


class _Model(nn.Module):
    """Embedding, blocks of an ``nn.Linear`` and a square ``Conv1D``, norm and head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, _WIDTH)
        square: Any = Conv1D
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"wide": nn.Linear(_WIDTH, 2 * _WIDTH), "square": square(_WIDTH, _WIDTH)}) for _ in range(2)
        )
        self.head = nn.Linear(_WIDTH, VOCAB)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.embedding(tokens)
        block: Any
        for block in self.blocks:
            gate, value = block["wide"](hidden).chunk(2, dim=-1)
            hidden = hidden + block["square"](torch.sigmoid(gate) * value)
        logits: Tensor = self.head(hidden)
        return logits

    def architecture_config(self) -> dict[str, Any]:
        return {"vocab_size": VOCAB, "n_positions": VOCAB}


@frozen(eq=False)
class _Subject:
    """A model with the adapter in it."""

    model: _Model
    adapted: Adapted


def check_only_its_own_weights_are_trained(subject: Subject) -> None:
    made = _made(subject)
    if made is None:
        return
    base, before = _model().state_dict(), made.adapted.tensors()
    _train(made.model)
    for name, tensor in made.adapted.base.items():
        assert torch.equal(tensor, base[name]), f"{name}, a weight of the base, was changed"
    after = made.adapted.tensors()
    assert any(not torch.equal(after[name], before[name]) for name in before), "nothing changed in state_dict()"


def check_merged_weights_compute_the_same(subject: Subject) -> None:
    """The base with the merged weights gives the logits of the model with the adapter in it, except for rounding."""
    made = _made(subject)
    if made is None:
        return
    _train(made.model)
    merged = _model()
    plain = _logits(merged)
    with process_registry(subject.registry):
        merged.load_state_dict(made.adapted.merged())
    expected, found = _logits(made.model), _logits(merged)
    assert not torch.allclose(plain, expected, atol=1e-4), "the trained adapter does not change the logits"
    apart = (found - expected).abs().max().item()
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5), f"the merged weights' logits are {apart:.3g} away"


def check_a_file_has_all_that_merging_needs(subject: Subject) -> None:
    """What was written and read again gives the same merged weights, and merging changes none of its arguments."""
    made = _made(subject)
    if made is None:
        return
    _train(made.model)
    own, base = made.adapted.tensors(), {name: tensor.clone() for name, tensor in _model().state_dict().items()}
    header: dict[str, Any] = {
        "adapter": f"{subject.ref.plugin}/{subject.ref.name}",
        "options": made.adapted.options,
        "base": dict.fromkeys(("architecture", "architecture_config", "encoder", "encoder_config", "weights"), ""),
    }
    with tempfile.TemporaryDirectory() as folder, process_registry(subject.registry):
        path = save_adapter(StoredAdapter(**header, tensors=own), Path(folder) / "adapter.safetensors")
        read = load_adapter(path)
        first = merged_weights(read.adapter, read.options, read.tensors, base)
        second = made.adapted.merged()
    assert first, "no weight of the base is changed"
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), f"{name} differs after the adapter was written and read"
    for name, tensor in _model().state_dict().items():
        assert torch.equal(base[name], tensor), f"merging changed its argument, {name} of the base"
    for name, tensor in made.adapted.tensors().items():
        assert torch.equal(own[name], tensor), f"merging changed its argument, {name} of the adapter"


def check_it_goes_on_as_if_it_had_not_been_stopped(subject: Subject) -> None:
    made, again = _made(subject), _made(subject)
    if made is None or again is None:
        return
    _train(made.model)
    state = copy.deepcopy(made.model.state_dict())
    _train(made.model)
    again.model.load_state_dict(state)
    _train(again.model)
    for name, tensor in made.adapted.tensors().items():
        assert torch.equal(again.adapted.tensors()[name], tensor), f"{name} differs after a state was loaded"


def check_equal_seeds_give_equal_weights(subject: Subject) -> None:
    """New weights come from torch's generator, which the core seeds and restores."""
    before = torch.get_rng_state()
    first, second = _made(subject), _made(subject)
    assert torch.equal(torch.get_rng_state(), before), "torch's global generator was used outside of the factory"
    if first is None or second is None:
        return
    for name, tensor in first.adapted.tensors().items():
        assert torch.equal(second.adapted.tensors()[name], tensor), f"{name} differs between two adapters of one seed"


def check_tensors_of_another_model_are_refused(subject: Subject) -> None:
    made = _made(subject)
    if made is None:
        return
    base = {f"other.{name}": tensor for name, tensor in _model().state_dict().items()}
    name = f"{subject.ref.plugin}/{subject.ref.name}"
    with process_registry(subject.registry):
        try:
            merged_weights(name, made.adapted.options, made.adapted.tensors(), base)
        except CheckpointError as error:
            assert "\n" not in str(error), "the error has more than one line"
        else:
            raise AssertionError("merge() took the tensors of another model")


def check_fits_a_model_of_fake_tensors(subject: Subject) -> None:
    """From such a model a run learns how much memory it needs."""
    with FakeTensorMode():
        model = _model()
        adapted = attach(subject.ref, model, 1)
        if adapted is not None:
            loss = model(torch.zeros(VOCAB, dtype=torch.long)).sum()
            loss.backward()


def _made(subject: Subject) -> _Subject | None:
    model = _model()
    adapted = attach(subject.ref, model, 1)
    if adapted is None:
        assert getattr(subject.spec, "merge", None) is None, "build() gave None, but the record names a merge"
        return None
    return _Subject(model, adapted)


def _model() -> _Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = _Model()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.5)
    return model


def _logits(model: _Model) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model.eval()(torch.arange(VOCAB))
    return logits.clone()


def _train(model: _Model) -> None:
    """Some steps on the same tokens, each followed by its successor."""
    model.train()
    tokens = torch.arange(VOCAB)
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        for _ in range(_STEPS):
            optimizer.zero_grad()
            cross_entropy(model(tokens), tokens.roll(-1)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
