"""What a musician types: a folder, an output folder, some minutes."""

from __future__ import annotations

import json
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch

from midigpt_core.checkpoint import read_header
from midigpt_core.cli.main import main
from midigpt_core.config import TrainConfig
from midigpt_core.training import sizing
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.planning.resume import step_files
from support.training import evaluations, metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SMALL = ["--set", "n_embd=16", "--set", "n_layer=1", "--set", "n_head=1", "--set", "n_positions=256"]
TINY = [*SMALL, "--set", "max_seq_len=256", "--set", "eval_rows=4"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory, midi_folder: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("music") / "songs"
    shutil.copytree(midi_folder, folder, ignore=shutil.ignore_patterns("*.md"))
    (folder / "cover.jpg").write_bytes(b"\xff\xd8")
    (folder / "lyrics.txt").write_text("la la la")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIDIGPT_CACHE", str(folder.parent / "cache"))
        yield folder


@pytest.fixture
def midigpt(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command; returns what it printed on standard output."""

    def run(*arguments: object) -> str:
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return printed.out

    return run


def settings_of(run: Path) -> dict[str, Any]:
    return {name: entry["value"] for name, entry in json.loads((run / "settings.json").read_text()).items()}


def test_a_folder_and_minutes_are_all(songs: Path, tmp_path: Path, midigpt: Callable[..., str]) -> None:
    printed = midigpt("train", songs, "-o", tmp_path / "run1", "--minutes", 0.05, *TINY, "--max-steps", 3)
    lines = [line.partition(":")[0] for line in printed.splitlines()]
    assert lines[:5] == ["music", "size", "batch", "steps", "evaluation"]
    for choice in printed.splitlines()[1:5]:
        # How to override it.
        assert "--" in choice
    settings = settings_of(tmp_path / "run1")
    # A flag wins over what would be chosen.
    assert settings["max_steps"] == 3
    assert settings["n_embd"] == 16
    assert settings["source"] == "midifiles"
    assert settings["eval_share"] == 0.1
    assert settings["precision"] == "fp32"
    # The packaged recipe: docs/recipe.md.
    assert settings["architecture"] == "llama"
    assert (settings["learning_rate"], settings["muon_learning_rate"]) == (0.01, 0.03)
    corpus = json.loads((tmp_path / "run1" / "corpus.json").read_text())
    assert 0 < corpus["eval"]["pieces"] < corpus["train"]["pieces"]
    assert len(evaluations(tmp_path / "run1")) >= 1
    header = read_header(tmp_path / "run1" / "model_final.pt")
    assert header.provenance["held_out"] == 0.1
    report = json.loads(midigpt("evaluate", songs, "--checkpoint", tmp_path / "run1" / "model_final.pt", "--json"))
    assert report["loss"] == evaluations(tmp_path / "run1")[-1]["eval_loss"]


def test_steps_are_chosen_and_what_was_chosen_alone_decides_the_run(
    songs: Path, tmp_path: Path, midigpt: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is that of its recorded settings, without any timing, to the last bit."""
    monkeypatch.setattr(sizing, "_timed", wrapped(sizing._timed, train=0.5, evaluate=0.1))
    midigpt("train", songs, "-o", tmp_path / "timed", "--minutes", 0.15, *TINY)
    steps = settings_of(tmp_path / "timed")["max_steps"]
    assert 3 <= steps <= 12
    assert len(metrics(tmp_path / "timed")) == steps
    # The last step is saved: a finished run repeats none of its steps.
    again = midigpt("train", songs, "-o", tmp_path / "timed", "--resume", "auto")
    assert f"already has its {steps} steps" in again
    assert len(metrics(tmp_path / "timed")) == steps
    config = tmp_path / "timed" / "config.json"
    midigpt("train", "--train-data", songs, "--config", config, "--output-dir", tmp_path / "plain")
    same = ("loss", "gradient_norm", "learning_rate")
    timed, plain = ([[step[key] for key in same] for step in metrics(tmp_path / run)] for run in ("timed", "plain"))
    assert timed == plain


def wrapped(timed: Callable[..., sizing.Timing], **values: float) -> Callable[..., sizing.Timing]:
    """The real timing, whose figures are replaced."""

    def wrapper(*arguments: Any) -> sizing.Timing:
        return sizing.Timing(**values, tokens=timed(*arguments).tokens)

    return wrapper


def test_a_wider_model_learns_at_a_smaller_rate(
    songs: Path, tmp_path: Path, midigpt: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "SIZES", ((16, 1, 1), (32, 2, 2)))
    monkeypatch.setattr(sizing, "_best_size", lambda *_: 1)
    short = ["--minutes", 0.05, "--set", "max_seq_len=256", "--set", "eval_rows=4", "--max-steps", 1]
    assert "n_embd 32, n_layer 2, n_head 2, learning_rate 0.005" in midigpt(
        "train", songs, "-o", tmp_path / "a", *short
    )
    settings = settings_of(tmp_path / "a")
    assert (settings["n_embd"], settings["learning_rate"]) == (32, 0.005)
    # One's own rate stays.
    midigpt("train", songs, "-o", tmp_path / "b", *short, "--learning-rate", 0.003)
    assert settings_of(tmp_path / "b")["learning_rate"] == 0.003


def test_resuming_needs_no_minutes(
    songs: Path, tmp_path: Path, midigpt: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "_timed", wrapped(sizing._timed, train=0.5, evaluate=0.1))
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    fixed = ["--set", "scheduler=constant", "--set", "save_steps=2", "--set", "eval_steps=2"]
    midigpt("train", songs, "-o", whole, "--minutes", 0.15, "--max-steps", 4, *TINY, *fixed)
    midigpt("train", songs, "-o", stopped, "--minutes", 0.15, "--max-steps", 2, *TINY, *fixed)
    monkeypatch.setattr(sizing, "fit_minutes", None)
    printed = midigpt("train", songs, "-o", stopped, "--resume", "auto", "--max-steps", 4)
    assert "settings chosen for 0.15 minutes" in printed
    assert [step["loss"] for step in metrics(stopped)] == [step["loss"] for step in metrics(whole)]
    assert read_header(stopped / "model_final.pt").architecture_config["n_embd"] == 16
    # Also as the short spelling, which the recorded configuration does not use.
    assert [settings_of(run)["n_embd"] for run in (whole, stopped)] == [16, 16]
    # Repeating the minutes changes nothing.
    assert "already has its 4 steps" in midigpt(
        "train", songs, "-o", stopped, "--resume", "auto", "--minutes", 0.15, "--max-steps", 4
    )


def test_the_last_step_is_saved_whatever_number_the_user_gives_it(
    songs: Path, tmp_path: Path, midigpt: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prime number of steps has no checkpoint interval that ends with it."""
    monkeypatch.setattr(sizing, "_timed", wrapped(sizing._timed, train=0.5, evaluate=0.1))
    run = tmp_path / "run"
    printed = midigpt("train", songs, "-o", run, "--minutes", 0.15, "--max-steps", 11, *TINY)
    assert "every 3 steps" in printed
    before = metrics(run)
    assert [step["step"] for step in before] == list(range(1, 12))
    assert max(step_files(run / "checkpoints")) == 11
    assert "already has its 11 steps" in midigpt("train", songs, "-o", run, "--resume", "auto")
    assert metrics(run) == before
    midigpt("train", songs, "-o", run, "--resume", "auto", "--max-steps", 13)
    assert metrics(run)[:11] == before


def test_the_packaged_configuration_gives_way_to_a_bundle(
    songs: Path, tmp_path: Path, midigpt: Callable[..., str]
) -> None:
    midigpt("train", songs, "-o", tmp_path / "first", "--config", "laptop", "--encoder-config", "ghost", *TINY,
            "--architecture", "gpt2", "--max-steps", 1, "--set", "warmup_steps=0")  # fmt: skip
    start = ["--init-from", tmp_path / "first" / "model_final.pt"]
    midigpt("train", songs, "-o", tmp_path / "tuned", "--minutes", 0.05, *start, "--max-steps", 1)
    settings = settings_of(tmp_path / "tuned")
    assert (settings["n_embd"], settings["n_positions"], settings["max_seq_len"]) == (16, 256, 256)
    assert settings["architecture"] == "gpt2"
    assert (settings["learning_rate"], settings["muon_learning_rate"]) == (1e-4, None), "rates for random weights"


def test_minutes_do_not_change_a_run_that_was_begun_without(
    songs: Path, tmp_path: Path, midigpt: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    midigpt("train", songs, "-o", run, "--config", "laptop", *TINY, "--max-steps", 1, "--set", "save_steps=1")
    assert main(["train", str(songs), "-o", str(run), "--minutes", "1", "--resume", "auto"]) == 2
    assert "was begun without" in capsys.readouterr().err


def test_the_old_spelling_holds_nothing_out(songs: Path, tmp_path: Path, midigpt: Callable[..., str]) -> None:
    midigpt("train", "--plugin", "midifiles", "--train-data", songs, "--output-dir", tmp_path, *TINY, "--max-steps", 1)
    assert settings_of(tmp_path)["eval_share"] == 0
    assert json.loads((tmp_path / "corpus.json").read_text())["eval"] is None


def test_data_is_named_once(songs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(songs), "--train-data", str(songs)]) == 2
    assert "Put it after the option it belongs to: --train-data or --eval-data" in capsys.readouterr().err


def test_preprocess_and_corpus_tell_the_source_and_need_no_encoder(songs: Path, midigpt: Callable[..., str]) -> None:
    printed = midigpt("preprocess", songs)
    assert "kept" in printed
    assert "pieces of the corpus" not in printed
    # It also counts copies, and keeps what it found next to the corpus, whose size it shows.
    midigpt("corpus", "info", songs)
    by_argument = json.loads(midigpt("corpus", "info", songs, "--json"))
    assert by_argument == json.loads(midigpt("corpus", "info", "--data", songs, "--json"))
    assert by_argument["totals"]["pieces"] == 18
    assert "1 shard, " in midigpt("corpus", "verify", songs)


def test_presets_are_listed_and_named(midigpt: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "laptop" in midigpt("config", "presets")
    listed = {one["name"]: one for one in json.loads(midigpt("config", "presets", "--json"))}
    assert listed["laptop"]["settings"]["architecture"]["n_embd"] == 128
    assert json.loads(midigpt("config", "show", "laptop", "--json"))["n_embd"] == 128
    assert main(["train", "songs", "--config", "leptop"]) == 2
    assert "config presets" in capsys.readouterr().err


def test_options_of_the_source_need_no_name(
    songs: Path, tmp_path: Path, midigpt: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """They are options of the source that reads the folder."""
    larger = ["--set", 'source.where=["bytes > 3000"]']
    kept = sum(file.stat().st_size > 3000 for file in songs.glob("*.mid"))
    printed = midigpt("preprocess", songs, *larger)
    assert kept == int(next(line for line in printed.splitlines() if line.startswith("kept")).split()[-1]) > 0
    assert f"{kept:,}" in midigpt("corpus", "info", songs, *larger)
    plan = prepare(TrainConfig.from_mapping({"output_dir": str(tmp_path / "run")}, "test"), songs, songs)
    assert plan.config.source == "midifiles"
    assert main(["train", str(songs), "-o", str(tmp_path / "run"), "--set", 'source.where=["size < 3"]']) == 2
    assert "there is no column 'size'" in capsys.readouterr().err


def test_music_where_a_bundle_should_be_is_told_apart(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "songs.zip", "w") as archive:
        archive.writestr("a.mid", b"MThd")
    for path in (songs, tmp_path / "songs.zip"):
        assert main(["inspect", str(path)]) == 2
        assert f"{path}: music, no bundle. 'midigpt corpus info {path}' describes it" in capsys.readouterr().err
    assert main(["inspect", str(songs / "lyrics.txt")]) == 2
    assert "not a bundle" in capsys.readouterr().err
