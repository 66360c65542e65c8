"""The legacy directory is read without running its program."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
import torch
from midigpt_legacy.heads import told_heads, usual_heads
from torch import Tensor, nn

from midigpt_core.checkpoint import build_model, load_checkpoint, read_header, save_bundle
from midigpt_core.errors import CheckpointError
from support.legacy import VOCABULARY, Past, Traceable, cached, empty_past, kept, small_model, write

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import GPT2LMHeadModel

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")


class Wrapped(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.model = inner

    def forward(self, ids: Tensor, past: Past) -> tuple[Tensor, Past]:
        return self.model(ids, past)


class Renamed(nn.Module):
    """The same tensors in the same order under unknown names."""

    def __init__(self, inner: Traceable) -> None:
        super().__init__()
        self.tokens, self.places = inner.transformer.wte, inner.transformer.wpe
        self.blocks, self.norm, self.out = inner.transformer.h, inner.transformer.ln_f, inner.lm_head

    def forward(self, ids: Tensor, past: Past) -> tuple[Tensor, Past]:
        cache = cached(past)
        hidden = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        for block in self.blocks:
            hidden = block(hidden, cache)
        return self.out(self.norm(hidden)), kept(cache)


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    return small_model()


@pytest.fixture(scope="module")
def legacy(model: GPT2LMHeadModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("legacy") / "plain", Traceable(model))


@pytest.fixture
def no_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither torch.load nor torch.jit.load may be called."""
    for name in ("torch.load", "torch.jit.load"):
        monkeypatch.setattr(name, lambda *_a, **_k: pytest.fail("the file was handed to torch"))


@pytest.mark.usefixtures("no_running")
def test_tensors_are_read_without_running_the_program(legacy: Path, model: GPT2LMHeadModel) -> None:
    bundle = load_checkpoint(legacy)
    assert bundle.architecture_config == {
        "vocab_size": VOCABULARY,
        "n_positions": 64,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
    }
    assert bundle.encoder == "midigpt"
    expected = model.state_dict()
    assert bundle.state_dict.keys() == expected.keys()
    assert all(torch.equal(bundle.state_dict[name], tensor) for name, tensor in expected.items())
    header = read_header(legacy)
    assert header.architecture_config == bundle.architecture_config
    assert header.encoder_config == bundle.encoder_config


def test_the_model_computes_what_the_program_does(legacy: Path) -> None:
    program = torch.jit.load(str(legacy / "model.pt"))
    ids = torch.randint(0, VOCABULARY, (1, 40))
    with torch.no_grad():
        expected, _ = program(ids, empty_past())
        torch.testing.assert_close(build_model(load_checkpoint(legacy))(ids), expected, atol=1e-5, rtol=0)


@pytest.mark.usefixtures("no_running")
def test_modules_wrapped_around_do_not_matter(model: GPT2LMHeadModel, tmp_path: Path) -> None:
    bundle = load_checkpoint(write(tmp_path / "wrapped", Wrapped(Wrapped(Traceable(model)))))
    assert bundle.state_dict.keys() == model.state_dict().keys()


def test_it_can_be_converted(legacy: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(legacy)
    again = load_checkpoint(save_bundle(loaded, tmp_path / "m.safetensors"))
    assert all(torch.equal(again.state_dict[name], tensor) for name, tensor in loaded.state_dict.items())


def test_n_head_of_the_configuration_wins(model: GPT2LMHeadModel, tmp_path: Path) -> None:
    folder = write(tmp_path / "told", Traceable(model), n_head=2)
    bundle = load_checkpoint(folder)
    assert bundle.architecture_config["n_head"] == 2
    assert "n_head" not in bundle.encoder_config
    (folder / "config.json").write_text(json.dumps({"n_head": 5}))
    with pytest.raises(CheckpointError, match="n_embd 32 is not a multiple of"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("attributes", "program", "heads"),
    [
        ({}, "", None),
        ({"n_head": {16}}, "torch.view(x, [_1, _2, -1, 64])", 16),
        ({"n_head": {16, 4}}, "", None),
        (
            {},
            "torch.view(k, [_35, int(_36), -1, 64])\ntorch.view(x, [_1, _2, 1536]); torch.view(x, [_1, 512])",
            8,
        ),
        ({}, "torch.view(k, [_3, _2, -1, 64]); torch.reshape(v, [_3, _2, -1, 32])", None),
    ],
)
def test_what_tells_the_head_count(attributes: dict[str, set[int]], program: str, heads: int | None) -> None:
    assert told_heads(512, attributes, program) == heads


def test_the_usual_head_count_is_the_first_that_divides() -> None:
    assert [usual_heads(width) for width in (512, 384, 768, 36, 20, 7)] == [8, 8, 8, 12, 4, 1]


def test_a_guessed_head_count_is_said(
    legacy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("midigpt_core.checkpoint.torch_archive.TorchArchive.program_text", lambda _: "")
    with caplog.at_level(logging.WARNING):
        bundle = load_checkpoint(legacy)
    assert bundle.architecture_config["n_head"] == 8
    assert 'took 8. If that is wrong, add "n_head" to config.json' in caplog.text


def test_unknown_names_are_refused_and_the_way_out_is_named(
    model: GPT2LMHeadModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write(tmp_path / "renamed", Renamed(Traceable(model)))
    with pytest.raises(CheckpointError, match=r"'tokens\.weight' has no name.*allow_unsafe=True if you trust"):
        load_checkpoint(folder)
    with caplog.at_level(logging.WARNING):
        bundle = load_checkpoint(folder, allow_unsafe=True)
    assert "running the program in this file" in caplog.text
    assert bundle.architecture_config["n_head"] == 4
    expected = model.state_dict()
    assert all(torch.equal(bundle.state_dict[name], tensor) for name, tensor in expected.items())


def test_a_program_that_computes_something_else_is_refused(model: GPT2LMHeadModel, tmp_path: Path) -> None:
    class Other(Renamed):
        def forward(self, ids: Tensor, past: Past) -> tuple[Tensor, Past]:
            logits, cache = super().forward(ids, past)
            return -logits, cache

    folder = write(tmp_path / "other", Other(Traceable(model)))
    with pytest.raises(CheckpointError, match="computes what its program does"):
        load_checkpoint(folder, allow_unsafe=True)


@pytest.mark.usefixtures("no_running")
def test_damage_is_named(legacy: Path, model: GPT2LMHeadModel, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "config.json").write_bytes((legacy / "config.json").read_bytes())
    whole = (legacy / "model.pt").read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        (folder / "model.pt").write_bytes(whole[:cut])
        with pytest.raises(CheckpointError, match=r"model\.pt"):
            load_checkpoint(folder)
    torch.save(model.state_dict(), folder / "model.pt")
    with pytest.raises(CheckpointError, match="not a TorchScript program"):
        load_checkpoint(folder)
    (folder / "model.pt").write_bytes(whole)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        load_checkpoint(folder)


def test_the_program_given_as_a_bundle_is_refused(legacy: Path) -> None:
    with pytest.raises(CheckpointError, match=r"TorchScript program, not a bundle.*give that folder"):
        load_checkpoint(legacy / "model.pt")


@pytest.mark.usefixtures("no_running")
def test_a_missing_head_is_taken_from_the_embedding(
    model: GPT2LMHeadModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = model.transformer

        def forward(self, ids: Tensor, past: Past) -> tuple[Tensor, Past]:
            cache = cached(past)
            hidden = self.transformer(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
            return hidden @ self.transformer.wte.weight.t(), kept(cache)

    with caplog.at_level(logging.WARNING):
        bundle = load_checkpoint(write(tmp_path / "tied", Tied()))
    assert torch.equal(bundle.state_dict["lm_head.weight"], model.transformer.wte.weight)
    assert "there is no lm_head.weight" in caplog.text
