"""The commands in a row on real files: preprocess, train in both spellings, evaluate, inspect the corpus."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from midigpt.inference import InferenceEngine
from midigpt.tokenizer import load_checkpoint
from midigpt.training.trainer import TrainConfig, train

from midigpt_core.cli.main import main, run
from midigpt_core.cli.preprocess import preprocess as preprocess_command
from midigpt_core.cli.train import train as train_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from midigpt_core.corpus.build import BuildProgress

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
DUET = MIDI / "mutopia_bach_invention_08.mid"
CONFIG = {
    "encoder_config_path": "yellow",
    "n_embd": 16,
    "n_layer": 1,
    "n_head": 1,
    "n_positions": 256,
    "max_seq_len": 256,
    "num_bars_choices": [4],
    "batch_size": 2,
    "max_steps": 3,
    "warmup_steps": 1,
    "eval_rows": 4,
    "precision": "fp32",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two shards of real files and one row that is no MIDI, a configuration, and a cache."""
    folder = tmp_path_factory.mktemp("pipeline")
    files = [file.read_bytes() for file in sorted(MIDI.glob("*.mid"))]
    for name, music in (("train", [*files[:9], b"not MIDI"]), ("valid", files[9:])):
        pq.write_table(pa.table({"music": pa.array(music, pa.binary())}), folder / f"{name}.parquet")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIDIGPT_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    """``midigpt train --plugin gigamidi``."""
    assert main(["train", "--plugin", "gigamidi", *_train_arguments(folder, "by-command")]) == 0
    return folder / "by-command" / "model_final.pt"


def _train_arguments(folder: Path, output: str) -> list[str]:
    data = ["--train-data", str(folder / "train.parquet"), "--eval-data", str(folder / "valid.parquet")]
    return ["--config", str(folder / "config.json"), *data, "--output-dir", str(folder / output)]


def _losses(run_dir: Path) -> list[float]:
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [value for line in lines for key, value in line.items() if "loss" in key and isinstance(value, float)]


def test_preprocess_counts_every_row(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = [str(folder / "train.parquet"), str(folder / "valid.parquet")]
    assert run(preprocess_command, "prog", ["--parquet", *shards, "--encoder-config", "yellow"]) == 0
    rows, pieces, _ = (block.splitlines() for block in capsys.readouterr().out.strip().split("\n\n"))
    for block, total in ((rows, len(list(MIDI.glob("*.mid"))) + 1), (pieces, None)):
        counts = [int(line.split("  e.g.")[0].split()[-1].replace(",", "")) for line in block[1:]]
        assert sum(counts[:-1]) == counts[-1]
        assert total is None or counts[-1] == total
    assert any("not" in line or "header" in line or "midi" in line.lower() for line in rows[2:-1])


def test_preprocess_again_reads_nothing(folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preprocess", "--data", str(folder / "*.parquet"), "--checkpoint", str(bundle)]) == 0
    assert "2 shards, 0 built now" in capsys.readouterr().out


def test_preprocess_hashes_again_when_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of the same size, time of change and end as before."""
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.parquet"
    song = (MIDI / "mutopia_bach_invention_08.mid").read_bytes()
    table = pa.table({"music": [song, song, b"\0" * 100_000]})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)
    preprocess = ["preprocess", "--data", str(path), "--encoder-config", "yellow", "--min-bars", "1"]
    main(preprocess)
    times, data = path.stat(), bytearray(path.read_bytes())
    data[data.index(song)] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    capsys.readouterr()
    for more, kept, built in (([], 2, 0), (["--verify"], 1, 1), (["--verify"], 1, 0), ([], 1, 0)):
        assert main([*preprocess, *more]) == 0
        printed = capsys.readouterr().out
        assert re.search(rf"^kept +{kept}$", printed, re.MULTILINE)
        assert f"1 shard, {built} built now" in printed


def test_preprocess_that_leaves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["preprocess", "--data", str(folder / "*.parquet"), "--encoder-config", "yellow", "--min-tracks", "99"]
    assert main(arguments) == 2
    assert "no piece can be used with this encoder and min_bars 4, min_tracks 99" in capsys.readouterr().err


def test_preprocess_without_any_music(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "no-music.parquet"
    pq.write_table(pa.table({"music": pa.array([b"not MIDI", None], pa.binary())}), path)
    assert main(["preprocess", "--data", str(path), "--encoder-config", "yellow"]) == 2
    message = capsys.readouterr().err
    assert "no row contains music that can be read (" in message
    assert "null_music 1" in message
    assert "Lower" not in message


def test_training_that_nothing_is_left_for_names_its_own_settings(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "duets.parquet"
    pq.write_table(pa.table({"music": pa.array([DUET.read_bytes()], pa.binary())}), path)
    settings = ["--config", str(folder / "config.json"), "--set", "min_tracks=3", "--output-dir", str(tmp_path / "run")]
    assert main(["train", "--train-data", str(path), *settings]) == 2
    message = capsys.readouterr().err
    assert "no piece can be used with this encoder and min_tracks 3, num_bars_choices [4], " in message
    assert "(too_few_tracks 1). Lower these limits" in message


def test_a_finished_run_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", *_train_arguments(folder, "finished"), "--set", "save_steps=3"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("Trained 3 steps. ")
    assert main([*arguments, "--resume", "auto"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        "The run already has its 3 steps (max_steps): nothing was trained. "
        f"The bundle is {folder / 'finished' / 'model_final.pt'}."
    )
    assert main([*arguments, "--resume", "auto", "--max-steps", "4"]) == 0
    assert capsys.readouterr().out.startswith("Trained 4 steps. ")


def test_a_cache_without_corpora_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "empty"))
    for command in ("info", "verify"):
        assert main(["corpus", command]) == 0
        assert (
            f"{tmp_path / 'empty'} contains no corpus. Set MIDIGPT_CACHE to use another cache."
            in capsys.readouterr().err
        )
    (tmp_path / "file").touch()
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "file"))
    assert main(["corpus", "info"]) == 2
    hint = "MIDIGPT_CACHE names the folder of the cache."
    assert f"{tmp_path / 'file'}: is not a folder. {hint}" in capsys.readouterr().err
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "file" / "cache"))
    assert main(["preprocess", "--data", "x.parquet", "--encoder-config", "yellow"]) == 2
    assert f"{tmp_path / 'file' / 'cache'}: cannot be reached (Not a directory). {hint}" in capsys.readouterr().err
    monkeypatch.setenv("MIDIGPT_CACHE", "~nobody-of-this-name/cache")
    assert main(["corpus", "clean"]) == 2
    assert f"~nobody-of-this-name/cache: Could not determine home directory. {hint}" in capsys.readouterr().err


def test_train_says_where_the_best_saved_step_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--set", "save_steps=1", "--set", "eval_steps=1"]
    assert main(["train", *_train_arguments(folder, "saved"), *settings]) == 0
    last, best = capsys.readouterr().out.splitlines()
    assert last == f"Trained 3 steps. The bundle is {folder / 'saved' / 'model_final.pt'}."
    losses = {}
    for line in map(json.loads, (folder / "saved" / "metrics.jsonl").read_text().splitlines()):
        losses |= {line["step"]: line["eval_loss"]} if "eval_loss" in line else {}
    step = min(losses, key=losses.__getitem__)
    path = folder / "saved" / "checkpoints" / f"model-step{step}.pt"
    assert best == f"The saved step with the lowest evaluation loss is {path}."


def test_every_spelling_trains_the_same_model(folder: Path, bundle: Path) -> None:
    assert run(train_command, "python -m midigpt.training.trainer", _train_arguments(folder, "by-module")) == 0
    config = TrainConfig.from_file(folder / "config.json")
    config.output_dir = str(folder / "by-function")
    result = train(config, train_path=str(folder / "train.parquet"), eval_path=str(folder / "valid.parquet"))
    assert result.steps == 3
    losses = [_losses(folder / name) for name in ("by-command", "by-module", "by-function")]
    assert len(losses[0]) >= 3
    assert losses[0] == losses[1] == losses[2]


def test_train_tells_of_the_corpus_it_builds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[BuildProgress] = []

    @contextlib.contextmanager
    def recording() -> Iterator[Callable[[BuildProgress], None]]:
        yield told.append

    monkeypatch.setattr("midigpt_core.cli.build_progress.build_progress", recording)
    monkeypatch.setenv("MIDIGPT_CACHE", str(folder / "fresh-cache"))
    assert main(["train", *_train_arguments(folder, "told"), "--dry-run"]) == 0
    assert told[-1].rows > 0


def test_the_front_door_reads_the_bundle(bundle: Path) -> None:
    assert load_checkpoint(bundle).architecture == "gpt2"
    engine = InferenceEngine.from_checkpoint(bundle)
    assert engine.encoder.vocab_size == load_checkpoint(bundle).architecture_config["vocab_size"]


def test_tokens_with_the_encoder_of_a_bundle(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["encode", str(MIDI / "mutopia_mozart_kv525_1.mid"), "--bars", "4-7", "--json"]
    assert main([*arguments, "--checkpoint", str(bundle)]) == 0
    by_bundle = capsys.readouterr().out
    assert main([*arguments, "--encoder-config", "yellow"]) == 0
    assert capsys.readouterr().out == by_bundle
    tokens, music = tmp_path / "tokens.json", tmp_path / "out.mid"
    tokens.write_text(by_bundle)
    assert main(["decode", str(tokens), "-o", str(music), "--checkpoint", str(bundle)]) == 0
    assert music.read_bytes().startswith(b"MThd")


def test_a_batch_that_is_larger_than_the_memory_is_one_line(
    folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(folder / "valid.parquet"), "--rows", "4"]
    assert main(["evaluate", "--checkpoint", str(bundle), *data, "--batch-size", "2000000000"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: batch_size: with 2000000000, a batch of packed rows of ")
    assert error.count("\n") == 1


def test_evaluate(folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(folder / "valid.parquet")
    assert main(["evaluate", "--checkpoint", str(bundle), "--data", data, "--rows", "4", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert 0 < report["loss"] < 10
    assert main(["evaluate", "--checkpoint", str(bundle), "--data", data, "--rows", "4"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["all", f"{report['loss']:.4f}"]


def test_dry_run_trains_nothing(folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *_train_arguments(folder, "dry"), "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert all(word in output for word in ("parameters", "tokens per step", "packed rows per pass", "memory"))
    assert not (folder / "dry").exists()


def test_corpus_commands(folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_data, eval_data = str(folder / "train.parquet"), str(folder / "valid.parquet")
    assert main(["corpus", "info", "--data", train_data, "--eval-data", eval_data, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(found["counts"].values()) == 10
    assert found["leakage"]["pieces"] == 0
    # The rest of the cache, without the evaluation data itself.
    assert main(["corpus", "info", "--eval-data", eval_data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["leakage"]["pieces"] == 0
    assert main(["corpus", "info"]) == 0
    assert "most common program" in capsys.readouterr().out

    assert main(["corpus", "verify"]) == 0
    assert "2 shards" in capsys.readouterr().out
    (damaged,) = [path for path in (folder / "cache").rglob("*.arrow") if path.stat().st_size][:1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert main(["corpus", "verify"]) == 2
    assert "1 of 2 shards are damaged. Run 'midigpt corpus clean'" in capsys.readouterr().err
    assert main(["corpus", "clean"]) == 0
    assert "1 removed" in capsys.readouterr().out

    (short,) = (folder / "cache").rglob("pieces.arrow")
    short.write_bytes(short.read_bytes()[:100])
    assert main(["corpus", "verify"]) == 2
    assert "pieces.arrow: 100 bytes instead of" in capsys.readouterr().err
    answers = []
    for path in (train_data, eval_data):
        assert main(["corpus", "verify", "--data", path]) == 2
        answers.append(capsys.readouterr().err)
    assert sum("not preprocessed" in answer for answer in answers) == 1
    assert sum("pieces.arrow: 100 bytes instead of" in answer for answer in answers) == 1


def test_encoders(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["encoder"] for row in rows} == {"midigpt"}
    assert all(row["vocab_size"] > 0 and "infill" in row["provides"] for row in rows)
