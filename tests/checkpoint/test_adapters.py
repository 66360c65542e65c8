"""Files of adapters: read as hostile, applied to the base that they name, and used by an engine."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import torch

from midigpt_core.checkpoint import load_checkpoint, save_bundle
from midigpt_core.checkpoint.adapter_files import KEY, read_adapter_header
from midigpt_core.checkpoint.adapters import apply_files, load_adapter, weights_hash
from midigpt_core.checkpoint.safetensors_data import write
from midigpt_core.cli.main import main
from midigpt_core.errors import CheckpointError
from midigpt_core.inference import GenerationRequest, InferenceConfig, InferenceEngine, TrackPrompt
from midigpt_core.testing import music
from support.adapters import lora_for
from support.serving import small_bundle

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lora_for(base, tmp_path_factory.mktemp("adapters") / "adapter.safetensors")


@pytest.fixture(scope="module")
def other(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lora_for(base, tmp_path_factory.mktemp("others") / "other.safetensors", seed=1, targets=["c_attn", "c_proj"])


# --- the hash of weights ---------------------------------------------------------------------------------------------


def test_a_bases_hash_is_that_of_its_numbers(base: Path, tmp_path: Path) -> None:
    bundle = load_checkpoint(base)
    expected = weights_hash(bundle.state_dict)
    for name in ("copy.pt", "copy.safetensors", "folder"):
        assert weights_hash(load_checkpoint(save_bundle(bundle, tmp_path / name)).state_dict) == expected
    halves = {name: tensor.half() for name, tensor in bundle.state_dict.items()}
    assert weights_hash(halves) == weights_hash({name: tensor.float() for name, tensor in halves.items()}) != expected
    changed = dict(bundle.state_dict)
    changed["lm_head.weight"] = changed["lm_head.weight"].clone()
    changed["lm_head.weight"][3, 1] += 1e-6
    assert weights_hash(changed) != expected


# --- an engine -------------------------------------------------------------------------------------------------------


def generated(engine: InferenceEngine) -> bytes:
    score = music.scores()[0]
    request = GenerationRequest(
        tracks=[TrackPrompt(id=0, bars=[1, 2])], config=InferenceConfig(seed=5, num_candidates=1)
    )
    return engine.session(score, request).run().to_bytes()


def test_an_engine_gives_exactly_what_the_merged_bundle_gives(
    base: Path, adapter: Path, other: Path, tmp_path: Path
) -> None:
    engine = InferenceEngine.from_checkpoint(base, "cpu")
    tokens = list(range(40))
    plain, music_before = engine.logits(tokens).clone(), generated(engine)
    found = {}
    for path in (adapter, other):
        merged = save_bundle(apply_files([path], base), tmp_path / f"{path.stem}.pt")
        of_bundle, adapted = InferenceEngine.from_checkpoint(merged, "cpu"), engine.adapted(path)
        assert torch.equal(adapted.logits(tokens), of_bundle.logits(tokens))
        assert generated(adapted) == generated(of_bundle) != music_before
        assert adapted.trained == of_bundle.trained
        bundle = adapted.to_bundle()
        assert weights_hash(bundle.state_dict) == weights_hash(load_checkpoint(merged).state_dict)
        found[path] = adapted.logits(tokens)
    assert not torch.equal(found[adapter], found[other])
    assert torch.equal(engine.logits(tokens), plain)
    assert generated(engine) == music_before


def test_engines_share_what_an_adapter_does_not_change(base: Path, adapter: Path) -> None:
    engine = InferenceEngine.from_checkpoint(base, "cpu")
    adapted = engine.adapted(adapter)
    ours, theirs = dict(engine.model.named_parameters()), dict(adapted.model.named_parameters())
    shared = {name for name, parameter in ours.items() if parameter is theirs[name]}
    assert {name.split(".")[-2] for name in ours.keys() - shared} == {"c_attn", "c_fc"}
    assert adapted.encoder is engine.encoder


def test_switching_takes_milliseconds(base: Path, adapter: Path, other: Path) -> None:
    engine = InferenceEngine.from_checkpoint(base, "cpu")
    first = {path: engine.adapted(path) for path in (adapter, other)}
    for path in (adapter, other, adapter):
        first[path].reader()
        started = time.perf_counter()
        switched = engine.adapted(path)
        reader = switched.reader()
        assert time.perf_counter() - started < 0.5
        assert switched is first[path]
        assert reader is first[path].reader()
    with pytest.raises(CheckpointError, match="this engine has no bundle"):
        InferenceEngine(engine.model, engine.encoder).adapted(adapter)


def test_adapters_are_used_at_the_same_time(base: Path, adapter: Path, other: Path) -> None:
    engine = InferenceEngine.from_checkpoint(base, "cpu")
    engines = [engine, engine.adapted(adapter), engine.adapted(other)]
    alone = [generated(one) for one in engines]
    assert len(set(alone)) == 3
    for one in engines:
        one.share_reader()
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(generated, engines * 2))
    assert together == alone * 2


# --- the wrong base --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"weights": "0" * 64},
            r"the hash of its weights is [0-9a-f]+ in 'small\.pt' and 0+ in the adapter",
        ),
        ({"architecture": "llama"}, r"architecture is 'gpt2' in .* and 'llama'"),
        ({"architecture_config.n_embd": 99}, r"architecture_config\.n_embd is \d+ in .* and 99"),
        ({"encoder_config.resolution": 99}, r"encoder_config\.resolution is \d+ in .* and 99"),
    ],
)
def test_an_adapter_of_another_base_names_the_first_field_that_differs(
    change: dict[str, Any], said: str, base: Path, adapter: Path, tmp_path: Path
) -> None:
    record = json.loads(json.dumps(dict(read_adapter_header(adapter).base)))
    for place, value in change.items():
        *outer, last = place.split(".")
        inside = record
        for name in outer:
            inside = inside[name]
        inside[last] = value
    record["weights"] = record["weights"] if "weights" in change else "f" * 64  # named only if nothing before differs
    wrong = lora_for(base, tmp_path / "wrong.safetensors", base=record)
    with pytest.raises(CheckpointError, match=rf"wrong\.safetensors: the adapter was trained on another model.*{said}"):
        InferenceEngine.from_checkpoint(base, "cpu").adapted(wrong)
    assert main(["adapters", "apply", str(wrong), "--base", str(base), "-o", str(tmp_path / "out.pt")]) == 2
    assert not (tmp_path / "out.pt").exists()


# --- hostile and damaged files ---------------------------------------------------------------------------------------


def header(path: Path, changes: dict[str, Any]) -> str:
    values = json.loads(read_adapter_header(path).metadata())
    return json.dumps({name: value for name, value in {**values, **changes}.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "of a later version"),
        ({"version": True}, "version is not a int"),
        ({"adapter": 3}, "adapter is not a str"),
        ({"base": {}}, "base has no 'architecture'"),
        ({"surprise": 1}, "a field 'surprise'"),
        ({"options": None}, "options is not a dict"),
    ],
)
def test_a_wrong_header_is_refused(changes: dict[str, Any], said: str, adapter: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrong.safetensors"
    write({"a": torch.zeros(1)}, {KEY: header(adapter, changes)}, path)
    with pytest.raises(CheckpointError, match=rf"wrong\.safetensors: .*{said}"):
        read_adapter_header(path)


def tampered(adapter: Path, path: Path, **tensors: torch.Tensor | None) -> Path:
    stored = load_adapter(adapter)
    left = {name: tensor for name, tensor in {**stored.tensors, **tensors}.items() if tensor is not None}
    write(left, {KEY: stored.metadata()}, path)
    return path


FIRST = "transformer.h.0.attn.c_attn.weight"


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({f"{FIRST}.lora_left": None}, "has no counterpart"),
        ({f"{FIRST}.lora_left": torch.zeros(5, 3)}, r"have shapes \(5, 3\) and"),
        ({f"{FIRST}.lora_left": torch.zeros(3)}, r"have shapes \(3,\) and"),
        ({f"{FIRST}.lora_left": torch.full((32, 3), torch.nan)}, "not finite numbers"),
        ({f"{FIRST}.lora_left": torch.full((32, 3), 3e38)}, "values that are not finite"),
        ({"transformer.h.7.attn.c_attn.weight.lora_left": torch.zeros(1, 1)}, "has no counterpart"),
        ({"bias": torch.zeros(1)}, "no LoRA has"),
        ({f"{FIRST}.lora_left": torch.zeros(32, 3, dtype=torch.int64)}, "not finite numbers"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    tensors: dict[str, torch.Tensor | None], said: str, base: Path, adapter: Path, tmp_path: Path
) -> None:
    path = tampered(adapter, tmp_path / "wrong.safetensors", **tensors)
    with pytest.raises(CheckpointError, match=rf"wrong\.safetensors: .*{said}") as caught:
        InferenceEngine.from_checkpoint(base, "cpu").adapted(path)
    assert "\n" not in str(caught.value)


def test_options_of_a_file_are_checked(base: Path, tmp_path: Path) -> None:
    engine = InferenceEngine.from_checkpoint(base, "cpu")
    for options, said in (({"rank": -1}, r"adapter\.rank"), ({"rnk": 1}, "Did you mean 'rank'")):
        path = lora_for(base, tmp_path / "wrong.safetensors", options=options)
        with pytest.raises(Exception, match=said) as caught:
            engine.adapted(path)
        assert getattr(caught.value, "exit_code", None) == 2
    for name, said in (("none", "adapts nothing"), ("acme/gains", "no adapter named 'acme/gains'")):
        path = lora_for(base, tmp_path / "wrong.safetensors", adapter=name, options={})
        with pytest.raises(Exception, match=said):
            engine.adapted(path)


@pytest.mark.parametrize("size", [0, 7, 40, 900, -1])
def test_a_file_that_is_cut_short_is_refused(size: int, adapter: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(adapter.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors"):
        load_adapter(path)


def test_a_bundle_is_no_adapter_and_an_adapter_no_bundle(base: Path, adapter: Path, tmp_path: Path) -> None:
    bundle = save_bundle(load_checkpoint(base), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: is not an adapter"):
        load_adapter(bundle)
    with pytest.raises(CheckpointError, match=r"adapter\.safetensors: is an adapter, not a bundle.*adapters apply"):
        load_checkpoint(adapter)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_adapter(tmp_path / "missing.safetensors")


# --- the commands ----------------------------------------------------------------------------------------------------


def test_adapters_are_listed(base: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "adapter.safetensors").write_bytes(adapter.read_bytes())
    save_bundle(load_checkpoint(base), tmp_path / "model.safetensors")
    assert main(["adapters", "list", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 2
    assert all(text in said for text in ("run/adapter.safetensors", "lora rank 3, alpha 6.0", "small.pt", "12"))
    assert main(["adapters", "list", str(tmp_path / "run"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["base"]["weights"] == weights_hash(load_checkpoint(base).state_dict)
    assert row["metrics"] == {"eval_loss": 1.5}
    assert main(["adapters", "list", str(tmp_path / "model.safetensors")]) == 2


def test_two_adapters_are_merged_by_their_weights(base: Path, adapter: Path, other: Path, tmp_path: Path) -> None:
    target = tmp_path / "both.pt"
    arguments = ["adapters", "merge", str(adapter), str(other), "--base", str(base), "-o", str(target)]
    assert main([*arguments, "--weight", "1", "--weight", "0.5"]) == 0
    plain, both = load_checkpoint(base).state_dict, load_checkpoint(target)
    one, two = (apply_files([path], base).state_dict for path in (adapter, other))
    for name, tensor in both.state_dict.items():
        expected = plain[name] + (one[name] - plain[name]) + 0.5 * (two[name] - plain[name])
        assert torch.allclose(tensor, expected, atol=1e-6)
    assert [part["weight"] for part in both.provenance["adapters"]] == [1.0, 0.5]
    before = target.read_bytes()
    assert main(arguments) == 2
    assert target.read_bytes() == before
    assert main([*arguments, "--overwrite", "--weight", "2"]) == 2
    assert main([*arguments, "--overwrite"]) == 0
    assert target.read_bytes() != before


def test_differences_of_adapters(adapter: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapters", "diff", str(adapter), str(adapter)]) == 0
    assert capsys.readouterr().out == "Nothing differs.\n"
    assert main(["adapters", "diff", str(adapter), str(other), "--json"]) == 1
    found = {line["field"]: (line["a"], line["b"]) for line in json.loads(capsys.readouterr().out)}
    assert found["options.targets"] == (["c_attn", "c_fc"], ["c_attn", "c_proj"])
    assert found[f"tensors.{FIRST}.lora_left"][1].startswith("up to ")
    assert found["tensors.transformer.h.0.mlp.c_fc.weight.lora_left"][1] is None


def test_generate_takes_an_adapter(base: Path, adapter: Path, tmp_path: Path) -> None:
    merged = save_bundle(apply_files([adapter], base), tmp_path / "merged.pt")
    flags = ["--new-track", "program=0", "--bars", "0-1", "--seed", "3"]
    outputs = []
    for name, model in (
        ("merged", ["--checkpoint", str(merged)]),
        ("adapter", ["--checkpoint", str(base), "--adapter", str(adapter)]),
        ("base", ["--checkpoint", str(base)]),
    ):
        assert main(["generate", *model, *flags, "-o", str(tmp_path / name)]) == 0
        outputs.append((tmp_path / name / "new-1.mid").read_bytes())
    assert outputs[0] == outputs[1] != outputs[2]
