"""midigpt inspect, diff and convert: what they print, their exit codes, and what they do without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from attrs import evolve
from midigpt_encoder.config import EncoderConfig

from midigpt_core.checkpoint import load_checkpoint, save_bundle
from midigpt_core.cli.main import main
from midigpt_core.contracts import Bundle
from support.tiny_gpt2 import tiny_gpt2

if TYPE_CHECKING:
    from pathlib import Path

COMPONENT = {
    "name": "midigpt",
    "plugin": "encoder",
    "distribution": "midigpt-core",
    "version": "0.1.0",
    "options_sha256": "ab" * 32,
}


@pytest.fixture
def bundle() -> Bundle:
    model = tiny_gpt2(647)
    return Bundle(
        architecture="gpt2",
        architecture_config=model.architecture_config(),
        encoder="midigpt",
        encoder_config=EncoderConfig.from_preset("yellow").to_dict(),
        provenance={
            "midigpt_core": "0.1.0",
            "components": {"encoder": COMPONENT},
            "corpus": "c0ffee",
            "steps": 240,
            "metrics": {"loss": 1.25},
        },
        state_dict=model.state_dict(),
    )


@pytest.fixture
def path(bundle: Bundle, tmp_path: Path) -> Path:
    return save_bundle(bundle, tmp_path / "model.pt")


def output(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """What a command prints; on failure the error."""
    assert main([str(argument) for argument in arguments]) == code
    out, err = capsys.readouterr()
    return err if code == 2 else out


def test_inspect_says_what_a_bundle_is(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, components = output(capsys, "inspect", path).split("\n\n")
    facts = {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in header.splitlines()}
    assert facts["format"].startswith("pt, ")
    assert facts["architecture"] == "gpt2 (vocab_size 647, n_positions 32, n_embd 16, n_layer 2, n_head 4)"
    assert facts["parameters"] == "27,808"
    assert facts["encoder"].startswith("midigpt, 17 fields, sha256 ")
    assert facts["vocabulary"] == "647 tokens"
    assert (facts["corpus"], facts["steps"], facts["metrics"]) == ("c0ffee", "240", "loss 1.25")
    assert components.splitlines()[1].split() == [
        "encoder",
        "midigpt",
        "encoder",
        "midigpt-core",
        "0.1.0",
        "abababababa…",
    ]


def test_inspect_json_has_the_whole_header(bundle: Bundle, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(output(capsys, "inspect", path, "--json"))
    assert found["encoder_config"] == bundle.encoder_config
    assert found["provenance"] == bundle.provenance
    assert (found["format"], found["parameters"], found["vocab_size"]) == ("pt", 27808, 647)
    assert len(found["encoder_sha256"]) == 64


def test_nothing_that_a_file_says_reaches_the_terminal_raw(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[2J\x07\r\n\x9b31m\u202e"
    provenance: dict[str, Any] = {
        **bundle.provenance,
        f"k{evil}": f"v{evil}",
        "metrics": {f"m{evil}": f"x{evil}"},
        "components": {f"encoder{evil}": {**COMPONENT, "version": f"1{evil}"}},
    }
    other = save_bundle(evolve(bundle, provenance=provenance), tmp_path / "evil.safetensors")
    plain = save_bundle(bundle, tmp_path / "plain.safetensors")
    shown = [
        output(capsys, "inspect", other),
        output(capsys, "inspect", other, "--json"),
        output(capsys, "diff", plain, other, code=1),
        output(capsys, "diff", plain, other, "--json", code=1),
    ]
    for text in shown:
        assert "m" in text
        assert all(character.isprintable() or character == "\n" for character in text)


def test_diff_names_fields_and_tensors(
    bundle: Bundle, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert output(capsys, "diff", path, path) == "Nothing differs.\n"
    same = save_bundle(bundle, tmp_path / "same.safetensors")
    assert output(capsys, "diff", path, same) == "Nothing differs.\n"
    state = {name: tensor.clone() for name, tensor in bundle.state_dict.items()}
    state["transformer.wpe.weight"][3, 2] += 0.5
    state["lm_head.weight"] = state["lm_head.weight"].half()
    provenance = {**bundle.provenance, "steps": 250}
    other = save_bundle(evolve(bundle, provenance=provenance, state_dict=state), tmp_path / "other.pt")
    assert output(capsys, "diff", path, other, code=1).splitlines()[1:] == [
        "provenance.steps                   240             250",
        "state_dict.lm_head.weight          float32 647x16  float16 647x16",
        "state_dict.transformer.wpe.weight  float32 32x16   up to 0.5 away",
    ]
    found = json.loads(output(capsys, "diff", path, other, "--header-only", "--json", code=1))
    assert found == [{"field": "provenance.steps", "a": 240, "b": 250}]


def test_weights_that_differ_in_sign_of_zero_or_are_nan_are_told(bundle: Bundle, tmp_path: Path) -> None:
    """Equality is of bits: NaN equals itself, 0.0 is not -0.0."""
    one, other = ({name: tensor.clone() for name, tensor in bundle.state_dict.items()} for _ in range(2))
    one["transformer.ln_f.bias"][0] = other["transformer.ln_f.bias"][0] = float("nan")
    first = save_bundle(evolve(bundle, state_dict=one), tmp_path / "first.pt")
    assert main(["diff", str(first), str(save_bundle(evolve(bundle, state_dict=other), tmp_path / "b.pt"))]) == 0
    other["transformer.ln_f.bias"][1] = -0.0
    one["transformer.ln_f.bias"][1] = 0.0
    assert main(["diff", str(first), str(save_bundle(evolve(bundle, state_dict=other), tmp_path / "c.pt"))]) == 1


@pytest.mark.parametrize("name", ["out.safetensors", "out.pt", "out"])
def test_convert_writes_every_format(
    bundle: Bundle, path: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = output(capsys, "convert", path, tmp_path / "to" / name)
    assert said.startswith(f"{tmp_path / 'to' / name}: ")
    loaded = load_checkpoint(tmp_path / "to" / name)
    assert loaded.provenance == bundle.provenance
    assert all(torch.equal(loaded.state_dict[key], tensor) for key, tensor in bundle.state_dict.items())


def test_convert_to_another_precision(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "half.pt").write_text("in the way")
    output(capsys, "convert", path, tmp_path / "half.pt", "--dtype", "bfloat16", "--overwrite")
    assert {tensor.dtype for tensor in load_checkpoint(tmp_path / "half.pt").state_dict.values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "none.pt", "out.onnx"], "no format is known for the suffix '.onnx'"),
        (["convert", "none.pt", "out.pt"], "none.pt: there is no such file"),
        (["convert", "none.pt", "out", "--format", "safetensor"], "Did you mean 'safetensors'?"),
        (["convert", "none.pt", "out", "--format", "legacy-directory"], "can only be read"),
        (["convert", "none.pt", "out", "--dtype", "int8"], "'int8' is not one of"),
        (["convert", "none.pt", "a.safetensors", "--format", "pt"], "a.safetensors: a name that ends in .safetensors"),
        (["convert", "none.pt", "bad.pt"], "bad.pt: exists already. Choose another name, or add --overwrite."),
        (["convert", "none.pt"], "Missing argument 'OUT'"),
        (["inspect"], "Missing argument 'FILE'"),
        (["inspect", "none.pt"], "none.pt: there is no such file"),
        (["diff", "none.pt", "none.pt"], "none.pt: there is no such file"),
        (["inspect", "bad.pt"], "bad.pt: not a zip file"),
        (["inspect", "."], "not a bundle of any format for a folder"),
    ],
)
def test_what_is_wrong_is_said_before_torch_is_imported(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_text("hello")
    code, out, err = without_torch(arguments, tmp_path)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert out == "[]\n"


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors", "m"])
def test_headers_are_read_without_torch(bundle: Bundle, tmp_path: Path, name: str) -> None:
    save_bundle(bundle, tmp_path / name)
    for arguments in (["inspect", name], ["inspect", name, "--json"], ["diff", name, name, "--header-only"]):
        code, out, err = without_torch(arguments, tmp_path)
        assert (code, err) == (0, "")
        assert out.endswith("\n[]\n")


def without_torch(arguments: list[str], folder: Path) -> tuple[int, str, str]:
    """Exit code and output of a process that ends with which of the heavy modules it imported."""
    script = (
        "import sys; from midigpt_core.cli.main import main; code = main(sys.argv[1:]);"
        "print([name for name in ('torch', 'transformers', 'lightning', 'pyarrow') if name in sys.modules]);"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_inspect_counts_the_parameters_of_a_plugins_architecture(
    bundle: Bundle, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {"embedding.weight": torch.zeros(647, 4), "head.bias": torch.zeros(647), "scale": torch.tensor(1.0)}
    foreign = evolve(bundle, architecture="one-layer", architecture_config={"vocab_size": 647}, state_dict=state)
    path = save_bundle(foreign, tmp_path / f"model{suffix}")
    assert "\nparameters        3,236 numbers in its tensors\n" in output(capsys, "inspect", path)
    assert json.loads(output(capsys, "inspect", path, "--json"))["parameters"] == 647 * 4 + 647 + 1
