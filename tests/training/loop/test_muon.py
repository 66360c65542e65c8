"""Muon: which parameters it orthogonalises, by what rate, and how large its steps are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from attrs import evolve
from midigpt_optimizers.newton_schulz import orthogonalized
from torch import nn
from transformers.pytorch_utils import Conv1D

from midigpt_core.config import TrainConfig
from midigpt_core.contracts import ArchitectureContext, WeightMatrix
from midigpt_core.errors import ConfigError, PluginError
from midigpt_core.plugins import Selection, build, current_registry, load_registry, use_registry
from midigpt_core.training.dry_run import estimate
from midigpt_core.training.loop.initial import initial_model
from midigpt_core.training.loop.matrices import weight_matrices
from midigpt_core.training.loop.optimization import OptimizationSettings, build_optimizer, optimization
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import train
from support.training import curve, metrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.training import Configure

ADAMW = OptimizationSettings(
    optimizer=current_registry().resolve("optimizer", "adamw"),
    learning_rate=0.01,
    weight_decay=0.1,
    betas=(0.9, 0.99),
    scheduler="constant",
    warmup_steps=0,
    max_steps=10,
    gradient_clip=0.0,
)
VOCAB = 11


def muon(**options: Any) -> OptimizationSettings:
    return evolve(ADAMW, optimizer=current_registry().resolve("optimizer", {"name": "muon", **options}))


def gpt2() -> Any:
    ref = current_registry().resolve("architecture", {"name": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return build(ref, ArchitectureContext(vocab_size=VOCAB, max_seq_len=16))


class Layers(nn.Module):
    """Blocks, a norm and an embedding."""

    def __init__(self, *blocks: nn.Module, output_dim: int = 0, parts: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(6)
        self.embedding = nn.Embedding(VOCAB, 6)
        self.embedding.weight.data.fill_(0.5)
        self._stored: Any = {"output_dim": output_dim, "parts": parts}

    def weight_matrices(self) -> list[WeightMatrix]:
        return [WeightMatrix(parameter=block.weight, **self._stored) for block in self.blocks]


def linear(weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.size(1), weight.size(0), bias=False)
    layer.weight.data.copy_(weight)
    return layer


def values(outputs: int, inputs: int) -> torch.Tensor:
    return torch.arange(1.0, outputs * inputs + 1).square().sin().reshape(outputs, inputs)


def stepped(model: nn.Module, settings: OptimizationSettings, steps: int = 2) -> dict[str, torch.Tensor]:
    """The weights after some steps with gradients that are a function of each weight and the step."""
    optimizer = build_optimizer(model, settings, fused=False)
    for step in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.sin(parameter.detach() * (50 + step))
        optimizer.step()
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_singular_values_come_near_1_and_vectors_stay() -> None:
    for shape in ((6, 18), (18, 6), (6, 6)):
        matrices = torch.stack([values(*shape), 1e-3 * values(*shape).flip(1), torch.zeros(shape)])
        found = orthogonalized(matrices, 5)
        assert (torch.linalg.svdvals(found[:2]) - 1).abs().max() < 0.35
        assert found[2].abs().max() == 0
        # U S V^T times its transpose is symmetric only if the vectors are the same.
        product = found[0].mT @ matrices[0]
        torch.testing.assert_close(product, product.mT, rtol=1e-3, atol=1e-4)


def test_the_matrices_of_gpt2_are_those_of_its_blocks() -> None:
    model = gpt2()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(matrix.parameter)]: (matrix.output_dim, matrix.parts) for matrix in weight_matrices(model)}
    layers = {"attn.c_attn": (1, (8, 8, 8)), "attn.c_proj": (1, ()), "mlp.c_fc": (1, ()), "mlp.c_proj": (1, ())}
    blocks = [(f"transformer.h.{block}.{layer}.weight", said) for block in (0, 1) for layer, said in layers.items()]
    assert found == dict(blocks)
    model.transformer.h[0].requires_grad_(False)
    assert len(weight_matrices(model)) == 4


class Encoder(nn.Module):
    """No blocks, and three projections in one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Embedding(VOCAB, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16)
        self.head = nn.Linear(8, VOCAB)

    def architecture_config(self) -> dict[str, Any]:
        return {"vocab_size": VOCAB}


class Stacked(nn.Module):
    """Blocks, which hold another embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Embedding(VOCAB, 8)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.Embedding(3, 8)), nn.Linear(8, VOCAB)])
        self.head = nn.Linear(8, VOCAB)


class Tables(nn.Module):
    """No blocks, a table of positions that is a bare parameter, and a layer that stores its weight as [in, out]."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Embedding(VOCAB, 8)
        self.positions = nn.Parameter(torch.zeros(16, 8))
        self.hidden = nn.Linear(8, 12)
        self.back = Conv1D(8, 12)
        self.head = Conv1D(VOCAB, 8)

    def architecture_config(self) -> dict[str, Any]:
        return {"vocab_size": VOCAB}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Tables(), ["hidden.weight", "back.weight"]),
        (Encoder(), ["self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight"]),
        (Stacked(), ["blocks.0.0.weight", "blocks.1.weight"]),
    ],
)
def test_matrices_are_found_where_an_architecture_names_none(model: nn.Module, expected: list[str]) -> None:
    names = {id(parameter): name.removeprefix("layer.") for name, parameter in model.named_parameters()}
    found = {names[id(matrix.parameter)]: matrix.parts for matrix in weight_matrices(model)}
    assert list(found) == expected
    assert [names[id(matrix.parameter)] for matrix in weight_matrices(model) if matrix.output_dim] == (
        ["back.weight"] if isinstance(model, Tables) else []
    )
    assert found.get("self_attn.in_proj_weight", (8, 8, 8)) == (8, 8, 8)


@pytest.mark.parametrize(("rate", "rule"), [(None, "match_rms_adamw"), (0.02, "original")])
def test_it_steps_as_torchs_own_muon(rate: float | None, rule: str) -> None:
    """Which orthogonalises in bfloat16."""
    weights = [values(12, 6), values(6, 12)]
    before = [weight.clone() for weight in weights]
    found = stepped(Layers(*map(linear, weights)), muon(learning_rate=rate))
    parameters = [nn.Parameter(weight) for weight in before]
    theirs = torch.optim.Muon(parameters, lr=rate or 0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn=rule)
    for step in range(2):
        for parameter in parameters:
            parameter.grad = torch.sin(parameter.detach() * (50 + step))
        theirs.step()
    for index, (parameter, weight) in enumerate(zip(parameters, weights, strict=True)):
        expected = parameter.detach() - weight
        assert (found[f"blocks.{index}.weight"] - weight - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("rate", [None, 0.02])
def test_a_weight_stored_the_other_way_takes_the_same_step(rate: float | None) -> None:
    weights = [values(12, 6), values(6, 12)]
    stored = [Conv1D(*weight.shape) for weight in weights]
    for layer, weight in zip(stored, weights, strict=True):
        layer.weight.data.copy_(weight.T)
    one = stepped(Layers(*map(linear, weights)), muon(learning_rate=rate))
    other = stepped(Layers(*stored, output_dim=1), muon(learning_rate=rate))
    for name in ("blocks.0.weight", "blocks.1.weight"):
        torch.testing.assert_close(other[name], one[name].T)


@pytest.mark.parametrize("rate", [None, 0.02])
def test_matrices_in_one_parameter_take_the_steps_of_matrices_apart(rate: float | None) -> None:
    together = stepped(Layers(linear(values(18, 6)), parts=(6, 8, 4)), muon(learning_rate=rate))
    apart = stepped(Layers(*map(linear, values(18, 6).split((6, 8, 4)))), muon(learning_rate=rate))
    expected = torch.cat([apart[f"blocks.{index}.weight"] for index in range(3)])
    torch.testing.assert_close(together["blocks.0.weight"], expected)
    whole = stepped(Layers(linear(values(18, 6))), muon(learning_rate=rate))
    assert not torch.allclose(whole["blocks.0.weight"], expected, atol=1e-4)


def test_a_step_takes_few_matrices_at_a_time_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many layers a model has, so that memory for copies of matrices does not grow with it."""

    def orthogonalize(matrices: torch.Tensor, iterations: int) -> torch.Tensor:
        taken.append(matrices.numel())
        return orthogonalized(matrices, iterations)

    monkeypatch.setattr("midigpt_optimizers.muon.orthogonalized", orthogonalize)
    blocks = [values(6, 6) * scale for scale in range(1, 8)]
    taken: list[int] = []
    together = stepped(Layers(*map(linear, blocks)), muon(), steps=1)
    assert taken == [7 * 36]
    taken.clear()
    monkeypatch.setattr("midigpt_optimizers.muon._CHUNK", 100)
    few = stepped(Layers(*map(linear, blocks)), muon(), steps=1)
    assert taken == [72, 72, 72, 36]
    assert all(torch.equal(few[name], tensor) for name, tensor in together.items())


def test_the_rest_is_adamws_to_the_last_bit_and_steps_are_of_its_size() -> None:
    model = gpt2()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    matrices = {id(matrix.parameter) for matrix in weight_matrices(model)}
    named = {name for name, parameter in model.named_parameters() if id(parameter) in matrices}
    by_muon, by_adamw = stepped(model, muon()), stepped(gpt2(), ADAMW)
    for name, tensor in by_adamw.items():
        if name not in named:
            assert torch.equal(by_muon[name], tensor), name
    for name in named:
        # The rate of 0.01, twice, and 0.2 of it each time: AdamW's steps in a run, which the first few exceed.
        assert (by_muon[name] - before[name]).square().mean().sqrt() == pytest.approx(2 * 0.002, rel=0.3)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_dry_run_counts_what_the_optimiser_keeps(optimizer: str, configure: Configure, shard: Path) -> None:
    found = estimate(prepare(configure(optimizer=optimizer), shard))
    # One moment of a matrix instead of two: 12 squares of the width in its block.
    spared = 4 * 12 * 32 * 32 if optimizer == "muon" else 0
    assert found.state_bytes == 16 * found.parameters - spared


@pytest.mark.parametrize("rate", [None, 0.02])
def test_rate_decay_and_schedule_of_a_matrix(rate: float | None) -> None:
    """As docs/running.md says: learning_rate times 0.2 times the root of the larger side of each matrix, or Muon's own
    rate times the root of outputs / inputs; weight decay at the same rate; the schedule scales both."""
    layers = Layers(linear(values(12, 6)), linear(values(6, 12)), linear(values(6, 6)))
    optimizer = build_optimizer(layers, muon(learning_rate=rate, momentum=0.0, nesterov=False), fused=False)
    for group in optimizer.param_groups:
        group["lr"] /= 2  # what a schedule does
    weights = [block.weight for block in layers.blocks]
    before = [weight.detach().clone() for weight in weights]
    for weight in weights:
        weight.grad = torch.sin(weight.detach() * 50)
    optimizer.step()
    factors = [0.2 * 12**0.5, 0.2 * 12**0.5, 0.2 * 6**0.5] if rate is None else [2**0.5, 1, 1]
    scheduled = (ADAMW.learning_rate if rate is None else rate) / 2
    for weight, old, factor in zip(weights, before, factors, strict=True):
        assert weight.grad is not None
        [direction] = orthogonalized(weight.grad[None], 5)
        expected = old * (1 - scheduled * ADAMW.weight_decay) - scheduled * factor * direction
        torch.testing.assert_close(weight.detach(), expected)


@pytest.mark.parametrize("chunk", [1 << 22, 5000])
def test_a_dry_run_counts_what_a_step_needs_for_a_moment(
    chunk: int, configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte what torch's profiler counts in a step of the model itself."""
    monkeypatch.setattr("midigpt_optimizers.muon._CHUNK", chunk)
    plan = prepare(configure(optimizer="muon", n_layer=3), shard)
    found = estimate(plan)
    assert found.memory_bytes == found.state_bytes + max(found.activation_bytes, found.step_bytes)
    model = initial_model(plan.config, plan.chosen.architecture, plan.encoder.vocab_size)
    optimizer = build_optimizer(model, optimization(plan.config, plan.chosen.optimizer), fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    with torch.profiler.profile(profile_memory=True) as profiler:
        optimizer.step()
    live = peak = 0
    for event in sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    assert found.step_bytes == peak > 0


def test_adamws_fused_step_needs_nothing_for_a_moment(configure: Configure, shard: Path) -> None:
    assert estimate(prepare(configure(optimizer="adamw"), shard)).step_bytes == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": "muom"}, r"no optimiser named 'muom'\. Did you mean 'muon'"),
        ({"optimizer": {"name": "muon", "momentun": 0.9}}, r"optimizer\.momentun.*Did you mean 'momentum'"),
        ({"optimizer": {"name": "muon", "momentum": 1.0}}, r"optimizer\.momentum: .*1"),
        ({"optimizer": "adamw", "muon_learning_rate": 0.02}, "muon_learning_rate .* do not go together"),
    ],
)
def test_what_cannot_be_is_an_error_in_a_line(configure: Configure, changes: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, PluginError), match=words) as caught:
        prepare(configure(**changes), "nothing is read")
    assert "\n" not in str(caught.value)


@pytest.fixture
def lion(pytestconfig: pytest.Config) -> Iterator[None]:
    """The optimiser of the examples, which does not say that it can step shards."""
    before = current_registry()
    use_registry(load_registry(Selection(plugin_dirs=(str(pytestconfig.rootpath / "examples" / "optimizer"),))))
    yield
    use_registry(before)


@pytest.mark.usefixtures("lion")
def test_shards_go_to_an_optimiser_that_can_step_them(configure: Configure, shard: Path) -> None:
    with pytest.raises(ConfigError, match=r"strategy: optimizer 'lion' cannot .* Choose .*'adamw'\.") as caught:
        prepare(configure(optimizer="lion", strategy="fsdp", devices=2), shard)
    assert "\n" not in str(caught.value)
    for optimizer, strategy in (("lion", "ddp"), ("muon", "fsdp"), ("adamw", "fsdp")):
        prepare(configure(optimizer=optimizer, strategy=strategy, devices=2), shard)


@pytest.mark.parametrize("act", [train, lambda config, shard: estimate(prepare(config, shard))])
def test_a_model_without_a_matrix_to_train_is_refused(configure: Configure, shard: Path, act: Any) -> None:
    frozen = {"freeze": ["transformer.h"], "max_steps": 2}
    with pytest.raises(ConfigError, match=r"muon has nothing to step: .*freeze.* Choose optimizer 'adamw'\."):
        act(configure(optimizer="muon", **frozen), shard)
    act(configure("other", optimizer="adamw", **frozen), shard)


def test_its_own_rate_is_scheduled_too_and_the_one_that_is_logged_is_adamws(configure: Configure, shard: Path) -> None:
    derived = train(configure("derived", optimizer="muon"), shard).run_dir
    own = train(configure("own", optimizer="muon", muon_learning_rate=0.02), shard).run_dir
    assert [line["learning_rate"] for line in metrics(own)] == [line["learning_rate"] for line in metrics(derived)]
    # The first step has a rate of 0.
    assert [one == other for one, other in zip(curve(own), curve(derived), strict=True)][:3] == [True, True, False]
    assert TrainConfig.from_file(own / "config.json").choice("optimizer") == {"name": "muon", "learning_rate": 0.02}
