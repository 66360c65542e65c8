"""Bundles go out and come back the same, in every format, and only whole ones come back."""

from __future__ import annotations

import errno
import io
import json
import logging
import resource
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch
from attrs import evolve
from transformers import GPT2Config, GPT2LMHeadModel

from midigpt_core.checkpoint import build_encoder, build_model, encoder_ref, load_checkpoint, read_header, save_bundle
from midigpt_core.checkpoint.encoder_hash import fingerprints
from midigpt_core.checkpoint.models import _check_finite
from midigpt_core.errors import CheckpointError, ConfigError, MidigptError, PluginError
from midigpt_core.files import WriteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from midigpt_gpt2.model import Gpt2

    from midigpt_core.contracts import Bundle

pytestmark = pytest.mark.usefixtures("tiny_registry")

SUFFIXES = [".pt", ".safetensors"]


def format_1(bundle: Bundle) -> dict[str, Any]:
    """The dict of format 1 as another program would write it: without our key."""
    return {
        "format_version": 1,
        "arch": "gpt2",
        "config": dict(bundle.architecture_config),
        "encoder_config": dict(bundle.encoder_config),
        "midigpt_core": {"encoder": "tiny"},
        "state_dict": dict(bundle.state_dict),
    }


def write_pt(content: dict[str, Any], path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_bundle_comes_back_bit_for_bit(bundle: Bundle, tmp_path: Path, suffix: str) -> None:
    path = save_bundle(bundle, tmp_path / f"model{suffix}")
    loaded = load_checkpoint(path)
    assert list(loaded.state_dict) == sorted(loaded.state_dict) or suffix == ".pt"
    assert loaded.state_dict.keys() == bundle.state_dict.keys()
    assert all(torch.equal(loaded.state_dict[name], tensor) for name, tensor in bundle.state_dict.items())
    for header in (loaded, read_header(path)):
        assert header.architecture == "gpt2"
        assert header.architecture_config == bundle.architecture_config
        assert header.encoder == "tiny"
        assert header.encoder_config == bundle.encoder_config
        assert header.provenance == bundle.provenance


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_built_model_computes_the_same_bits(bundle: Bundle, model: Gpt2, tmp_path: Path, suffix: str) -> None:
    path = save_bundle(bundle, tmp_path / f"model{suffix}")
    rebuilt = build_model(load_checkpoint(path))
    tokens = torch.randint(0, 97, (2, 30))
    with torch.no_grad():
        assert torch.equal(rebuilt(tokens), model(tokens))
    assert not rebuilt.training


def test_format_1_is_the_documented_dict(bundle: Bundle, tmp_path: Path) -> None:
    content = torch.load(save_bundle(bundle, tmp_path / "m.pt"), weights_only=True)
    assert content.pop("midigpt_core") == {
        "encoder": "tiny",
        **fingerprints(bundle.encoder_config),
        "provenance": bundle.provenance,
    }
    assert list(content) == ["format_version", "arch", "config", "encoder_config", "state_dict"]
    assert content["format_version"] == 1
    assert content["config"] == {"vocab_size": 97, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 4}
    theirs = GPT2LMHeadModel(GPT2Config(**content["config"], tie_word_embeddings=False, bos_token_id=0, eos_token_id=0))
    theirs.load_state_dict(content["state_dict"], strict=True)


def test_format_2_is_what_the_safetensors_package_reads(bundle: Bundle, tmp_path: Path) -> None:
    path = save_bundle(bundle, tmp_path / "m.safetensors")
    tensors = safetensors.torch.load_file(path)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in bundle.state_dict.items())
    with safetensors.safe_open(path, "pt") as opened:
        metadata = opened.metadata()
    assert metadata["format_version"] == "2"
    assert metadata["arch"] == "gpt2"
    assert json.loads(metadata["config"]) == bundle.architecture_config
    assert json.loads(metadata["encoder_config"]) == bundle.encoder_config


def test_a_file_of_the_safetensors_package_is_read(bundle: Bundle, tmp_path: Path) -> None:
    metadata = {
        "format_version": "2",
        "config": json.dumps(bundle.architecture_config),
        "encoder_config": json.dumps(bundle.encoder_config),
        "midigpt_core": json.dumps({"encoder": "tiny"}),
    }
    safetensors.torch.save_file(dict(bundle.state_dict), tmp_path / "m.safetensors", metadata)
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    assert loaded.architecture == "gpt2"
    assert all(torch.equal(loaded.state_dict[name], tensor) for name, tensor in bundle.state_dict.items())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_weights_give_the_same_bytes(bundle: Bundle, tmp_path: Path, suffix: str) -> None:
    """Whatever the order of the weights, whichever texts are one object, and however tensors share memory."""
    head = bundle.state_dict["lm_head.weight"]
    first = save_bundle(
        evolve(bundle, state_dict={**bundle.state_dict, "transformer.wte.weight": head}), tmp_path / f"a{suffix}"
    )
    wide = torch.zeros(97, 1600)
    wide[:, ::100] = head
    state = {name: tensor.clone() for name, tensor in reversed(bundle.state_dict.items())}
    again = evolve(
        bundle,
        architecture_config={"".join(list(name)): value for name, value in bundle.architecture_config.items()},
        provenance=json.loads(json.dumps(bundle.provenance)),
        state_dict={**state, "transformer.wte.weight": wide[:, ::100], "lm_head.weight": head},
    )
    assert save_bundle(again, tmp_path / f"b{suffix}").read_bytes() == first.read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_dtype_is_converted_on_loading(bundle: Bundle, tmp_path: Path, suffix: str) -> None:
    path = save_bundle(bundle, tmp_path / f"m{suffix}")
    loaded = load_checkpoint(path, dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in loaded.state_dict.values()} == {torch.bfloat16}
    half = load_checkpoint(save_bundle(loaded, tmp_path / f"half{suffix}"))
    assert all(torch.equal(half.state_dict[name], tensor) for name, tensor in loaded.state_dict.items())
    assert {parameter.dtype for parameter in build_model(half).parameters()} == {torch.bfloat16}


def test_views_are_saved_without_what_they_are_views_of(bundle: Bundle, tmp_path: Path) -> None:
    plain = save_bundle(bundle, tmp_path / "plain.pt").stat().st_size
    wide = torch.randn(97, 1600)
    state = {**bundle.state_dict, "lm_head.weight": wide[:, ::100]}
    path = save_bundle(evolve(bundle, state_dict=state), tmp_path / "view.pt")
    assert path.stat().st_size == plain
    assert torch.equal(load_checkpoint(path).state_dict["lm_head.weight"], wide[:, ::100])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_transposed_shared_and_parameter_tensors_of_other_writers(
    bundle: Bundle, tmp_path: Path, protocol: int
) -> None:
    state = dict(bundle.state_dict)
    state["transformer.h.0.mlp.c_fc.weight"] = torch.randn(64, 16).t()
    state["lm_head.weight"] = state["transformer.wte.weight"] = torch.nn.Parameter(torch.randn(97, 16))
    torch.save({**format_1(bundle), "state_dict": state}, tmp_path / "m.pt", pickle_protocol=protocol)
    loaded = load_checkpoint(tmp_path / "m.pt").state_dict
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_encoder_config_may_be_a_json_string(bundle: Bundle, tmp_path: Path) -> None:
    path = write_pt({**format_1(bundle), "encoder_config": '{"size": 97}'}, tmp_path / "m.pt")
    assert load_checkpoint(path).encoder_config == {"size": 97}


def test_an_encoder_with_one_configuration_gets_it_whole(bundle: Bundle, tmp_path: Path) -> None:
    whole = evolve(bundle, encoder="whole", encoder_config={"size": 97, "other": [1, 2]})
    loaded = load_checkpoint(save_bundle(whole, tmp_path / "m.pt"))
    assert encoder_ref(loaded).options == {"config": {"size": 97, "other": [1, 2]}}
    assert build_encoder(loaded).to_config() == {"size": 97, "other": [1, 2]}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_old_buffers_and_a_missing_head_are_corrected_with_a_warning(
    bundle: Bundle, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    state = dict(bundle.state_dict)
    del state["lm_head.weight"]
    for layer in range(2):
        state[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, 32, 32, dtype=torch.bool)
        state[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    path = save_bundle(evolve(bundle, state_dict=state), tmp_path / f"old{suffix}")
    with caplog.at_level(logging.WARNING):
        loaded = load_checkpoint(path).state_dict
    assert loaded.keys() == bundle.state_dict.keys()
    assert torch.equal(loaded["lm_head.weight"], state["transformer.wte.weight"])
    assert "left out 4 causal masks" in caplog.text
    assert "no lm_head.weight" in caplog.text


Change = tuple[str, str, "Callable[[dict[str, Any]], object]"]
DAMAGE: list[Change] = [
    ("version", r"format_version is 2, this reader knows 1", lambda c: c.update(format_version=2)),
    ("no version", r"format_version is null", lambda c: c.pop("format_version")),
    ("true is no version", r"format_version is true", lambda c: c.update(format_version=True)),
    ("no state", r"there is no state_dict", lambda c: c.pop("state_dict")),
    ("state is a list", r"state_dict is a list", lambda c: c.update(state_dict=[1])),
    ("not a tensor", r"'lm_head\.weight' is not a tensor", lambda c: c["state_dict"].update({"lm_head.weight": 3})),
    (
        "missing",
        r"'transformer\.h\.1\.ln_2\.bias' is missing",
        lambda c: c["state_dict"].pop("transformer.h.1.ln_2.bias"),
    ),
    (
        "shape",
        r"'transformer\.wpe\.weight' has shape \(31, 16\), its config requires \(32, 16\)",
        lambda c: c["state_dict"].update({"transformer.wpe.weight": torch.zeros(31, 16)}),
    ),
    ("foreign", r"a tensor 'extra' that no GPT-2 has", lambda c: c["state_dict"].update(extra=torch.zeros(1))),
    ("vocabulary", r"config\.vocab_size is 97, its encoder has 96", lambda c: c.update(encoder_config={"size": 96})),
    ("no encoder", r"there is no encoder_config", lambda c: c.update(encoder_config=None)),
    ("bad encoder JSON", r"encoder_config is not valid JSON", lambda c: c.update(encoder_config="{")),
    ("bad encoder value", r"encoder_config cannot be used.*size", lambda c: c.update(encoder_config={"size": "97"})),
    ("unknown encoder key", r"did you mean|Did you mean", lambda c: c.update(encoder_config={"sise": 97})),
    ("layers", r"config\.n_layer is 16777216, but there are", lambda c: c["config"].update(n_layer=1 << 24)),
    ("heads", r"n_embd 16 is not a multiple of config\.n_head 3", lambda c: c["config"].update(n_head=3)),
    ("negative", r"config\.n_embd is -16", lambda c: c["config"].update(n_embd=-16)),
    ("text", r"config\.n_layer is '2'", lambda c: c["config"].update(n_layer="2")),
    (
        "unknown field",
        r"'n_layers'.* Did you mean 'n_layer'",
        lambda c: c["config"].update(n_layers=2),
    ),
    ("config", r"config is a list", lambda c: c.update(config=[])),
    ("architecture", r"no architecture named 'gpt3'.*Available: gpt2", lambda c: c.update(arch="gpt3")),
    ("architecture path", r"arch is 'os\.path:join'", lambda c: c.update(arch="os.path:join")),
    (
        "encoder name",
        r"'tinny'.*Did you mean 'tiny'",
        lambda c: c["midigpt_core"].update(encoder="tinny"),
    ),
    ("encoder path", r"expected the name of a component", lambda c: c["midigpt_core"].update(encoder="../x")),
]


@pytest.mark.parametrize(("message", "damage"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE])
def test_what_is_wrong_is_named(
    bundle: Bundle, tmp_path: Path, message: str, damage: Callable[[dict[str, Any]], object]
) -> None:
    content = format_1(bundle)
    damage(content)
    path = write_pt(content, tmp_path / "m.pt")
    with pytest.raises(MidigptError, match=message) as caught:
        build_model(load_checkpoint(path))
    assert isinstance(caught.value, CheckpointError | PluginError)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.3, 0.5, 0.999])
def test_half_a_file_is_an_error(bundle: Bundle, tmp_path: Path, suffix: str, fraction: float) -> None:
    path = save_bundle(bundle, tmp_path / f"m{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])
    for read in (load_checkpoint, read_header):
        with pytest.raises(CheckpointError, match=str(path)):
            read(path)


def test_flipped_bits_in_a_pt_are_detected(bundle: Bundle, tmp_path: Path) -> None:
    path = save_bundle(bundle, tmp_path / "m.pt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.pt", b"hello", "not a zip file"),
        ("m.safetensors", b"hello", "5 bytes are no safetensors file"),
        ("m.bin", b"hello", "not a bundle of any format for a file"),
        ("m.pt", b"PK\x05\x06" + bytes(18), "without data.pkl"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


def test_paths_that_lead_nowhere(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(tmp_path / "none.pt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="not a bundle of any format for a folder"):
        load_checkpoint(tmp_path / "empty")
    with pytest.raises(CheckpointError, match=r"suffix '\.onnx'.*\.safetensors"):
        save_bundle(bundle, tmp_path / "m.onnx")


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_named(bundle: Bundle, device: str) -> None:
    with pytest.raises(ConfigError, match=rf"device '{device}' cannot be used \(.+\)\. Choose cpu, or leave it out"):
        build_model(bundle, device=device)


def test_who_names_a_run_is_told_of_its_bundle(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, tmp_path / "run" / "model_final.pt")
    with pytest.raises(CheckpointError, match=r"Name the bundle in it: .*run/model_final\.pt\."):
        load_checkpoint(tmp_path / "run")


def test_the_state_of_a_run_is_no_bundle(tmp_path: Path) -> None:
    torch.save({"pytorch-lightning_version": "2.6.6", "state_dict": {}, "loops": {}}, tmp_path / "step5.ckpt")
    with pytest.raises(CheckpointError, match=r"step5\.ckpt: the state of a run, to resume it from.* model_final\.pt"):
        load_checkpoint(tmp_path / "step5.ckpt")


def test_a_bundle_without_its_suffix_is_known_by_its_bytes(bundle: Bundle, tmp_path: Path) -> None:
    for format_name in ("pt", "safetensors"):
        path = save_bundle(bundle, tmp_path / f"blob-{format_name}", format_name)
        assert load_checkpoint(path).encoder == "tiny"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_write_that_fails_leaves_the_old_file(
    bundle: Bundle, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_bundle(bundle, tmp_path / f"m{suffix}")
    before = path.read_bytes()

    class FullDisk(io.FileIO):
        def __init__(self, path: Path, mode: str = "r") -> None:
            super().__init__(str(path), mode.replace("b", ""))

        def write(self, data: Any, /) -> int:
            if self.tell() + len(data) > 4096:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    monkeypatch.setattr("pathlib.Path.open", lambda self, mode="r": FullDisk(self, mode))
    with pytest.raises(WriteError, match="the disk is full"):
        save_bundle(bundle, path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_headers_cost_no_tensor(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [save_bundle(bundle, tmp_path / f"m{suffix}") for suffix in SUFFIXES]
    monkeypatch.setattr(torch, "empty", lambda *_a, **_k: pytest.fail("a tensor was made"))
    for path in paths:
        assert read_header(path).architecture == "gpt2"


def test_a_safetensors_tensor_with_bytes_missing(bundle: Bundle, tmp_path: Path) -> None:
    path = save_bundle(bundle, tmp_path / "m.safetensors")
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    path.write_bytes(content[: 8 + length + 100])
    with pytest.raises(CheckpointError, match="cut short"):
        read_header(path)


def test_a_model_of_a_header_alone_leaves_the_generator_alone(bundle: Bundle, tmp_path: Path) -> None:
    header = read_header(save_bundle(bundle, tmp_path / "m.pt"))
    before = torch.random.get_rng_state()
    build_model(header)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.unsanitized
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_whether_weights_are_finite_is_found_without_a_copy_of_them(dtype: torch.dtype) -> None:
    model = torch.nn.Linear(1 << 13, 1 << 13, bias=False, dtype=dtype)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + model.weight.nbytes // 2, limits[1]))
    try:
        _check_finite(model)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
