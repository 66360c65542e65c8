"""One bundle around every format and back, reports of headers, and folders that transformers reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from attrs import evolve
from huggingface_hub import ModelCard
from transformers import GPT2LMHeadModel

from midigpt_core.checkpoint import build_model, convert, inspect, load_checkpoint, save_bundle
from midigpt_core.checkpoint.gpt2_layout import Gpt2Size, parameter_count, tensor_shapes
from midigpt_core.checkpoint.report import differences
from midigpt_core.errors import CheckpointError
from midigpt_core.files import WriteError
from support.legacy import Traceable, small_model, write

if TYPE_CHECKING:
    from pathlib import Path

    from midigpt_gpt2.model import Gpt2

    from midigpt_core.contracts import Bundle

pytestmark = pytest.mark.usefixtures("tiny_registry")


def test_around_every_format_and_back_bit_for_bit(tmp_path: Path) -> None:
    """From a legacy directory through every format, transformers among them, and back: equal bits, equal bytes."""
    model = small_model()
    legacy = write(tmp_path / "legacy", Traceable(model))
    names = ["a.pt", "b.safetensors", "c", "d.pt", "e", "f.safetensors", "g.pt"]
    at = legacy
    for name in names:
        at = convert(at, tmp_path / name)
    GPT2LMHeadModel.from_pretrained(tmp_path / "e").save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "encoder.json").write_bytes((tmp_path / "e" / "encoder.json").read_bytes())
    expected = model.state_dict()
    for name in [*names, "legacy", "theirs"]:
        loaded = load_checkpoint(tmp_path / name)
        assert loaded.state_dict.keys() == expected.keys()
        assert all(torch.equal(loaded.state_dict[key], tensor) for key, tensor in expected.items()), name
        assert loaded.encoder_config == load_checkpoint(legacy).encoder_config
    for same in (["a.pt", "d.pt", "g.pt"], ["b.safetensors", "f.safetensors"]):
        assert len({(tmp_path / name).read_bytes() for name in same}) == 1
    folders = [{item.name: item.read_bytes() for item in (tmp_path / name).iterdir()} for name in ("c", "e")]
    assert folders[0] == folders[1]
    assert differences(inspect(tmp_path / "a.pt"), inspect(tmp_path / "g.pt")) == []


def test_transformers_loads_the_folder_and_computes_the_same(bundle: Bundle, model: Gpt2, tmp_path: Path) -> None:
    folder = save_bundle(bundle, tmp_path / "folder")
    theirs, notes = GPT2LMHeadModel.from_pretrained(folder, output_loading_info=True)
    assert not notes["missing_keys"]
    assert not notes["unexpected_keys"]
    tokens = torch.randint(0, 97, (1, 30))
    with torch.no_grad():
        expected = theirs.eval()(input_ids=tokens, use_cache=False).logits
        direct = GPT2LMHeadModel(theirs.config).eval()
        direct.load_state_dict(dict(bundle.state_dict))
        assert torch.equal(direct(input_ids=tokens, use_cache=False).logits, expected)
        torch.testing.assert_close(build_model(load_checkpoint(folder))(tokens), expected, atol=1e-6, rtol=0)
        assert torch.equal(build_model(load_checkpoint(folder))(tokens), model(tokens))
    generated = theirs.generate(tokens[:, :4], max_length=12, pad_token_id=0)
    assert generated.shape == (1, 12)


def test_a_folder_that_transformers_saved_is_read(bundle: Bundle, tmp_path: Path) -> None:
    GPT2LMHeadModel.from_pretrained(save_bundle(bundle, tmp_path / "ours")).save_pretrained(tmp_path / "theirs")
    with pytest.raises(CheckpointError, match=r"no encoder\.json"):
        load_checkpoint(tmp_path / "theirs")
    (tmp_path / "theirs" / "encoder.json").write_text('{"size": 97}')
    with pytest.raises(
        CheckpointError, match=r"vocab_size is 97, its encoder has"
    ):  # its encoder is not known: midigpt
        load_checkpoint(tmp_path / "theirs")
    (tmp_path / "theirs" / "config.json").write_text(
        json.dumps(json.loads((tmp_path / "theirs" / "config.json").read_text()) | {"activation_function": "relu"})
    )
    with pytest.raises(CheckpointError, match=r"activation_function.* 'relu'.* 'gelu_new'"):
        load_checkpoint(tmp_path / "theirs")


def test_a_folder_is_written_whole_or_not_at_all(bundle: Bundle, tmp_path: Path) -> None:
    folder = save_bundle(bundle, tmp_path / "folder")
    assert sorted(item.name for item in folder.iterdir()) == [
        "README.md",
        "config.json",
        "encoder.json",
        "generation_config.json",
        "model.safetensors",
    ]
    before = {item.name: item.read_bytes() for item in folder.iterdir()}
    with pytest.raises(WriteError, match="exists already"):
        save_bundle(bundle, folder)
    assert {item.name: item.read_bytes() for item in folder.iterdir()} == before
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]
    (tmp_path / "empty").mkdir()
    assert load_checkpoint(save_bundle(bundle, tmp_path / "empty")).encoder == "tiny"


def test_the_cards_results_are_those_that_the_hub_reads(bundle: Bundle, tmp_path: Path) -> None:
    metrics = {"eval_loss": 1.25, "music/copy_rate": 0.125, "evil: [\n- x": 1, "odd": "text", "endless": float("inf")}
    saved = save_bundle(evolve(bundle, provenance={"metrics": metrics}), tmp_path / "measured")
    card = ModelCard.load(saved / "README.md")
    results = {result.metric_type: result.metric_value for result in card.data.eval_results or []}
    assert results == {"eval_loss": 1.25, "music/copy_rate": 0.125, "evil: [ - x": 1}
    assert card.data.library_name == "transformers"
    plain = save_bundle(evolve(bundle, provenance={}), tmp_path / "plain")
    assert "model-index" not in (plain / "README.md").read_text()


def test_the_card_names_data_and_licence_and_nothing_in_it_breaks_out(bundle: Bundle, tmp_path: Path) -> None:
    def card(provenance: dict[str, Any], name: str) -> str:
        return (save_bundle(evolve(bundle, provenance=provenance), tmp_path / name) / "README.md").read_text()

    known = card({"steps": 7, "components": {"source": {"name": "gigamidi", "version": "0.1"}}}, "known")
    assert "license: cc-by-nc-4.0" in known
    assert "| source | gigamidi 0.1 |" in known
    assert "| steps | 7 |" in known
    assert "GigaMIDI is licensed CC BY-NC 4.0 and gated" in known
    assert "not known to this card" not in known
    mixed = card({"components": {"source": {"name": "acme"}}, "sources": ["acme", "gigamidi", "unknown"]}, "mixed")
    assert "license: cc-by-nc-4.0" in mixed
    assert "The licence of the data that came through acme, unknown is not known to this card." in mixed
    hostile = card({"x |\n# evil": "<img src=x>\x1b[2J", "components": ["odd"], "metrics": 3}, "hostile")
    assert "license" not in hostile.partition("---\n\n")[0]
    assert "\n# evil" not in hostile
    assert "<img" not in hostile.replace("\\<", "")
    assert "\x1b" not in hostile


def test_inspect_reads_the_header_alone(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [save_bundle(bundle, tmp_path / name) for name in ("m.pt", "m.safetensors", "folder")]
    monkeypatch.setattr(torch, "empty", lambda *_a, **_k: pytest.fail("a tensor was made"))
    for path, format_name in zip(paths, ("pt", "safetensors", "huggingface"), strict=True):
        report = inspect(path)
        assert report.format == format_name
        assert report.parameters == sum(tensor.numel() for tensor in bundle.state_dict.values())
        assert report.bytes > 4 * report.parameters
        assert report.encoder_config == {"size": 97}
        assert report.provenance["steps"] == 50
        assert json.loads(json.dumps(report.to_dict()))["architecture_config"]["n_layer"] == 2


def test_differences_are_named_by_field(bundle: Bundle, tmp_path: Path) -> None:
    other = evolve(bundle, provenance={**bundle.provenance, "metrics": {"loss": 2.5}, "more": 1})
    first, second = save_bundle(bundle, tmp_path / "a.pt"), save_bundle(other, tmp_path / "b.safetensors")
    assert differences(inspect(first), inspect(second)) == [
        ("provenance.metrics.loss", 3.5, 2.5),
        ("provenance.more", None, 1),
    ]


def test_precision_is_converted_on_request(bundle: Bundle, tmp_path: Path) -> None:
    source = save_bundle(bundle, tmp_path / "a.pt")
    half = load_checkpoint(convert(source, tmp_path / "b.safetensors", dtype=torch.float16))
    assert {tensor.dtype for tensor in half.state_dict.values()} == {torch.float16}


def test_the_parameter_count_is_that_of_the_layout() -> None:
    for size in (Gpt2Size(), Gpt2Size(vocab_size=97, n_positions=32, n_embd=16, n_layer=2, n_head=4)):
        expected = sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in tensor_shapes(size).values())
        assert parameter_count(size) == expected
