"""Bundles of a Llama: around every format, a folder for transformers and back, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from attrs import evolve
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from midigpt_core.checkpoint import build_model, convert, inspect, load_checkpoint, save_bundle
from midigpt_core.checkpoint.llama_layout import LlamaSize, tensor_shapes
from midigpt_core.contracts import Bundle
from midigpt_core.errors import CheckpointError
from support.architectures import build_small

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("tiny_registry")

#: Positions that go back, as those of a block that fills in a placeholder do.
POSITIONS = torch.cat([torch.arange(20), torch.arange(5, 15)])[None]


@pytest.fixture(scope="module")
def model() -> Any:
    made = build_small("llama", vocab_size=97, max_seq_len=32)
    with torch.random.fork_rng():
        torch.manual_seed(8)
        for parameter in made.parameters():  # norms start at 1, where mistakes hide
            torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.fixture
def bundle(model: Any) -> Bundle:
    return Bundle(
        architecture="llama",
        architecture_config=model.architecture_config(),
        encoder="tiny",
        encoder_config={"size": 97},
        provenance={"midigpt_core": "0.1.0", "steps": 50},
        state_dict=model.state_dict(),
    )


def test_around_every_format_and_back_bit_for_bit(bundle: Bundle, model: Any, tmp_path: Path) -> None:
    at = save_bundle(bundle, tmp_path / "a.pt")
    for name in ("b.safetensors", "c", "d.pt"):
        at = convert(at, tmp_path / name)
        loaded = load_checkpoint(at)
        assert loaded.architecture == "llama"
        assert loaded.architecture_config == bundle.architecture_config
        assert loaded.state_dict.keys() == bundle.state_dict.keys()
        assert all(torch.equal(loaded.state_dict[key], tensor) for key, tensor in bundle.state_dict.items())
        report = inspect(at)
        assert report.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert at.read_bytes() == (tmp_path / "a.pt").read_bytes()
    tokens = torch.randint(0, 97, (1, 30))
    with torch.no_grad():
        assert torch.equal(build_model(load_checkpoint(at))(tokens), model(tokens))


def test_transformers_loads_the_folder_and_computes_the_same(bundle: Bundle, model: Any, tmp_path: Path) -> None:
    folder = save_bundle(bundle, tmp_path / "folder")
    theirs, notes = LlamaForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not notes["missing_keys"]
    assert not notes["unexpected_keys"]
    assert isinstance(AutoModelForCausalLM.from_pretrained(folder), LlamaForCausalLM)
    tokens = torch.randint(0, 97, (1, 30))
    with torch.no_grad():
        logits = theirs.eval()(tokens, use_cache=False).logits
        torch.testing.assert_close(model(tokens), logits, atol=1e-5, rtol=1e-5)
        logits = theirs(tokens, position_ids=POSITIONS, attention_mask=torch.ones_like(tokens), use_cache=False).logits
        torch.testing.assert_close(model(tokens, POSITIONS), logits, atol=1e-5, rtol=1e-5)
    assert theirs.generate(tokens[:, :4], max_length=12, pad_token_id=0).shape == (1, 12)


def test_a_folder_that_transformers_saved_is_read(bundle: Bundle, tmp_path: Path) -> None:
    ours = save_bundle(evolve(bundle, architecture_config={**bundle.architecture_config}), tmp_path / "ours")
    LlamaForCausalLM.from_pretrained(ours).save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "encoder.json").write_bytes((ours / "encoder.json").read_bytes())
    with pytest.raises(CheckpointError, match="vocab_size is 97, its encoder has"):  # its encoder is not known: midigpt
        load_checkpoint(tmp_path / "theirs")
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert config["rope_parameters"]["rope_theta"] == 10000.0
    assert inspect(tmp_path / "theirs").architecture_config == bundle.architecture_config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mistral"}, r"model_type is 'mistral', a midigpt model has 'gpt2' or 'llama'"),
        ({"hidden_act": "gelu"}, r"hidden_act is 'gelu', a midigpt model has 'silu'"),
        ({"rms_norm_eps": None}, r"rms_norm_eps is null, a midigpt model has 1e-05"),
        ({"attention_bias": True}, r"attention_bias is true, a midigpt model has False"),
        ({"head_dim": 16}, r"head_dim is 16, a midigpt model has hidden_size / num_attention_heads"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, r"rope_type is 'yarn', a midigpt model has"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear"}}, "rope_scaling is .* a midigpt model has None"),
        ({"num_key_value_heads": 3}, r"config\.n_kv_head 3 does not divide config\.n_head 4"),
        ({"hidden_size": 30}, r"n_embd 30 is not a multiple of twice config\.n_head 4"),
        ({"intermediate_size": 10**9}, r"config\.n_inner is 1000000000, expected a whole number"),
        ({"rope_parameters": {"rope_theta": "wide"}}, r"config\.rope_theta is 'wide', expected a number above 1"),
        ({"num_hidden_layers": 10**7}, r"config\.n_layer is 10000000, but there are 21 tensors"),
    ],
)
def test_a_folder_of_another_kind_is_refused(
    bundle: Bundle, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = save_bundle(bundle, tmp_path / "folder")
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        inspect(folder)


def test_the_base_is_read_in_the_spelling_of_old_versions(bundle: Bundle, tmp_path: Path) -> None:
    folder = save_bundle(bundle, tmp_path / "folder")
    config = json.loads((folder / "config.json").read_text())
    del config["rope_parameters"]
    (folder / "config.json").write_text(json.dumps(config | {"rope_theta": 500.0}))
    assert inspect(folder).architecture_config["rope_theta"] == 500.0


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_inner": None}, r"config\.n_inner is null, expected a whole number"),
        ({"n_heads": 4}, r"config has a field 'n_heads' that no Llama has\. Did you mean 'n_head'"),
        ({"n_inner": 64}, r"mlp\.gate_proj\.weight' has shape \(96, 32\), its config requires \(64, 32\)"),
        ({"rope_theta": 0.5}, r"config\.rope_theta is 0\.5, expected a number above 1"),
    ],
)
def test_sizes_that_do_not_fit_are_named(
    bundle: Bundle, tmp_path: Path, suffix: str, change: dict[str, Any], message: str
) -> None:
    wrong = evolve(bundle, architecture_config={**bundle.architecture_config, **change})
    with pytest.raises(CheckpointError, match=message):
        inspect(save_bundle(wrong, tmp_path / f"m{suffix}"))


def test_a_missing_size_and_a_foreign_tensor_are_named(bundle: Bundle, tmp_path: Path) -> None:
    sizes = {name: value for name, value in bundle.architecture_config.items() if name != "n_kv_head"}
    with pytest.raises(CheckpointError, match="config has no field 'n_kv_head'"):
        inspect(save_bundle(evolve(bundle, architecture_config=sizes), tmp_path / "a.pt"))
    more = {**bundle.state_dict, "model.layers.0.self_attn.q_proj.bias": torch.zeros(32)}
    with pytest.raises(CheckpointError, match=r"q_proj\.bias' that no Llama has"):
        inspect(save_bundle(evolve(bundle, state_dict=more), tmp_path / "b.pt"))
    fewer = {name: tensor for name, tensor in bundle.state_dict.items() if name != "lm_head.weight"}
    with pytest.raises(CheckpointError, match=r"'lm_head\.weight' is missing"):
        inspect(save_bundle(evolve(bundle, state_dict=fewer), tmp_path / "c.pt"))


def test_the_layout_is_that_of_the_module(model: Any) -> None:
    shapes = tensor_shapes(LlamaSize(**model.architecture_config()))
    assert shapes == {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert list(shapes) == list(model.state_dict())


def test_the_card_says_what_the_model_is(bundle: Bundle, model: Any, tmp_path: Path) -> None:
    card = (save_bundle(bundle, tmp_path / "folder") / "README.md").read_text()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert "tags: [midi, music, symbolic-music, llama]" in card
    assert f"Llama with {parameters:,} parameters (2 layers, 4 heads, width 32) over 97 tokens" in card
