"""``midigpt evaluate --music``: figures, their table and JSON, and what bad input gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from midigpt_encoder.factory import EncoderOptions
from midigpt_encoder.factory import build as build_encoder

from midigpt_core.checkpoint import load_checkpoint, save_bundle
from midigpt_core.cli import main
from midigpt_core.contracts import Bundle, EncoderContext
from midigpt_core.corpus.build import build
from midigpt_core.corpus.copy_index import NAME, build_copy_index, read_copy_index
from midigpt_core.corpus.store import open_corpus
from support.corpus import GIGAMIDI
from support.tiny_gpt2 import tiny_gpt2

if TYPE_CHECKING:
    from collections.abc import Sequence

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``data.parquet`` and ``other.parquet``, and ``model.pt``: random weights, trained on the former, as it says."""
    folder = tmp_path_factory.mktemp("music")
    files = [file.read_bytes() for file in sorted(MIDI.glob("*.mid"))]
    for name, part in (("data", files), ("other", files[:3]), ("one", [f for f in files if len(f) > 5000][:1])):
        pq.write_table(pa.table({"music": pa.array(part, pa.binary())}), folder / f"{name}.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIDIGPT_CACHE", str(folder / "cache"))
        corpora = {
            name: open_corpus(build(GIGAMIDI, [str(folder / f"{name}.parquet")]).shards) for name in ("data", "other")
        }
    encoder = build_encoder(EncoderOptions(config="yellow"), EncoderContext())
    model = tiny_gpt2(encoder.vocab_size, 1024, n_layer=1, n_head=1)
    stream = {"num_bars_choices": [4], "max_tracks": 2, "min_fill_ratio": 0.25}
    bundle = Bundle(
        architecture="gpt2",
        architecture_config=model.architecture_config(),
        encoder="midigpt",
        encoder_config=encoder.to_config(),
        provenance={"corpus": corpora["data"].fingerprint, "stream": stream},
        state_dict=model.state_dict(),
    )
    save_bundle(bundle, folder / "model.pt")
    for name, corpus in corpora.items():
        index = build_copy_index(corpus, np.arange(corpus.corpus.num_pieces), most_bytes=1 << 30)
        assert index is not None
        index.save(folder / f"{name}.npy")
    return folder


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(folder / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(folder)
    (folder / NAME).unlink(missing_ok=True)


def evaluate(*arguments: str, data: str = "data.parquet") -> int:
    return main(["evaluate", "--checkpoint", "model.pt", "--data", data, "--rows", "1", *arguments])


def said_by(capsys: pytest.CaptureFixture[str], arguments: Sequence[str], data: str = "data.parquet") -> str:
    assert evaluate(*arguments, data=data) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_every_metric_is_measured_and_equal_calls_give_equal_figures(capsys: pytest.CaptureFixture[str]) -> None:
    (Path(NAME)).write_bytes(Path("data.npy").read_bytes())
    asked = ("--music", "--pieces", "6", "--json")
    assert evaluate(*asked) == 0
    first = capsys.readouterr().out
    measured = json.loads(first)
    assert measured["tokens"] > 0
    music = measured["music"]
    assert (music["excerpts"], music["requests"]) == (6, 6)
    figures = music["figures"]
    assert {name.partition("/")[0] for name in figures} == {
        *("control", "pitch_classes", "onset_positions", "note_density", "polyphony"),
        *("in_range", "groove", "self_similarity", "copy_rate"),
    }
    # The data is the training data: every true bar is in it.
    assert figures["copy_rate"]["baseline"] == 1.0
    assert evaluate(*asked) == 0
    assert capsys.readouterr().out == first


def test_controls_in_python_are_measured_with_the_encoders_own(capsys: pytest.CaptureFixture[str]) -> None:
    encoder = build_encoder(
        EncoderOptions(config="yellow", attributes=("syncopation", "chroma-entropy")), EncoderContext()
    )
    model = tiny_gpt2(encoder.vocab_size, 1024, n_layer=1, n_head=1)
    bundle = attrs.evolve(
        load_checkpoint(Path("model.pt")),
        architecture_config=model.architecture_config(),
        encoder_config=encoder.to_config(),
        state_dict=model.state_dict(),
    )
    save_bundle(bundle, Path("python.pt"))
    asked = ["--checkpoint", "python.pt", "--data", "data.parquet", "--rows", "1", "--json"]
    assert main(["evaluate", *asked, "--music", "--pieces", "40", "--metric", "control"]) == 0
    figures = json.loads(capsys.readouterr().out)["music"]["figures"]
    # Controls of bars are asked for by name, not measured.
    own = {f"control/{what}/attributes/chroma-entropy" for what in ("exact", "within_one")}
    assert own <= set(figures)
    assert all(0 <= figures[name]["value"] <= 1 and figures[name]["count"] >= 1 for name in own)
    assert "control/exact/note_density" in figures


def test_the_table_names_what_a_figure_is_compared_with(capsys: pytest.CaptureFixture[str]) -> None:
    block = '{"name": "groove", "grid": 4}'
    assert evaluate("--music", "--pieces", "4", "--metric", "note_density", "--metric", block) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines if line}
    assert rows["music"].split("  ")[0] == "music"
    assert "true bars" in rows["note_density"]
    assert "bar pairs" in rows["groove"]
    assert lines[-1].endswith("requests for a level of a control")
    assert "copy_rate" not in rows


def test_the_training_data_is_indexed_once(capsys: pytest.CaptureFixture[str]) -> None:
    index = Path("fresh.npy")
    asked = ("--music", "--pieces", "4", "--metric", "copy_rate", "--copy-index", str(index), "--json")
    assert evaluate(*asked, "--train-data", "data.parquet") == 0
    first = json.loads(capsys.readouterr().out)["music"]["figures"]
    assert read_copy_index(index).corpus == read_copy_index("data.npy").corpus
    assert evaluate(*asked) == 0
    assert json.loads(capsys.readouterr().out)["music"]["figures"] == first
    assert first["copy_rate"]["baseline"] == 1.0


def test_without_the_training_data_copies_are_not_looked_for(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert evaluate("--music", "--pieces", "4", "--metric", "copy_rate", "--json") == 0
    assert json.loads(capsys.readouterr().out)["music"]["figures"] == {}
    assert "copy_rate is not measured: give --train-data" in caplog.text
    assert "Only 4 different pieces are measured" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--music", "--metric", "copy_rates"], "no metric named 'copy_rates'. Did you mean 'copy_rate'?"),
        (["--music", "--metric", '{"name": "groove", "grit": 2}'], "Did you mean 'grid'?"),
        (["--pieces", "3"], "--pieces is an option of --music. Add --music."),
        (["--music", "--train-data", "other.parquet"], "--train-data: another corpus (fingerprint "),
        (["--music", "--copy-index", "other.npy"], "other.npy: another corpus (fingerprint "),
        (["--music", "--copy-index", "other.npy", "--train-data", "data.parquet"], "other.npy: another corpus"),
        (["--music", "--copy-index", "model.pt"], "model.pt: "),
        (["--music", "--copy-index", "absent.npy"], "absent.npy: cannot be read as a copy index"),
    ],
)
def test_what_bad_input_gets(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in said_by(capsys, arguments)


def test_one_piece_is_too_little_and_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    said = said_by(capsys, ["--music"], data="one.parquet")
    assert "music cannot be measured on 1 of the 1 pieces" in said


def test_an_index_of_another_corpus_beside_the_bundle_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path(NAME).write_bytes(Path("other.npy").read_bytes())
    assert f"{NAME}: another corpus (fingerprint " in said_by(capsys, ["--music"])


def test_an_index_that_does_not_fit_says_what_to_lower(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midigpt_core.training.evaluate_music.host_memory", lambda: 4000)
    assert "--copy-sample" in said_by(capsys, ["--music", "--train-data", "data.parquet"])
