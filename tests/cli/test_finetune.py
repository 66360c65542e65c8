"""``midigpt finetune`` on a folder of songs: what it says, what it leaves, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from attrs import evolve, frozen

from midigpt_core.checkpoint import load_checkpoint, read_header
from midigpt_core.checkpoint.adapters import weights_hash
from midigpt_core.cli.main import main
from midigpt_core.config import TrainConfig
from midigpt_core.inference import session
from midigpt_core.training.loop.module import TrainingModule
from midigpt_core.training.planning.start_from import Base, adopt_rate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = ("n_embd=16", "n_layer=1", "n_head=1", "n_positions=512", "max_seq_len=512", "eval_rows=4", "precision=fp32")
SHORT = (
    "eval_share=0.4",
    "max_steps=6",
    "warmup_steps=1",
    "save_steps=3",
    "eval_steps=3",
    "eval_rows=4",
    "precision=fp32",
)


def assigned(values: tuple[str, ...]) -> list[str]:
    return [part for value in values for part in ("--set", value)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, midi_folder: Path) -> Iterator[Path]:
    """A folder with ``songs`` and, in ``base``, the run of a tiny model trained on them."""
    made = tmp_path_factory.mktemp("finetune")
    shutil.copytree(midi_folder, made / "songs", ignore=shutil.ignore_patterns("*.md"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIDIGPT_CACHE", str(made / "cache"))
        trained = ["--encoder-config", "yellow", "--eval-share", "0.1", *assigned(SMALL)]
        steps = assigned(("max_steps=4", "warmup_steps=1"))
        assert main(["train", str(made / "songs"), "-o", str(made / "base"), *trained, *steps]) == 0
        yield made


def finetune(folder: Path, output: Path, *more: str, base: str = "base/model_final.pt", songs: str = "songs") -> int:
    return main(
        ["finetune", str(folder / songs), "--from", str(folder / base), "--minutes", "1", "-o", str(output),
         *assigned(SHORT), *more]
    )  # fmt: skip


def test_an_adapter_is_trained_and_the_next_command_works(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = folder / "base" / "model_final.pt"
    before = base.read_bytes()
    assert finetune(folder, tmp_path / "mine") == 0
    printed = "".join(capsys.readouterr())
    assert "base: model_final.pt, trained on data of midifiles; licence: not stated" in printed
    losses = re.search(r"held-out loss: (\d\.\d{4}) before, (\d\.\d{4}) after \((.*)\)", printed)
    assert losses is not None
    assert ("lower" in losses[3], "not lower" in losses[3]) == (True, float(losses[2]) >= float(losses[1]))
    assert base.read_bytes() == before
    for where in ("the held-out songs", "your songs"):
        copied = re.search(rf"copies: of (\d+) bars generated in {where}, \d+% are in .*; of the base's \d+%", printed)
        assert copied is not None, where
        assert int(copied[1]) > 0
    timed = re.search(r"copies: measured in (\d+) excerpts .*, 2 times, about \d+ s in all  \(--set copy_e", printed)
    assert timed is not None
    assert (tmp_path / "mine" / "copies.npy").is_file()

    bundle = re.search(r"The bundle is (\S+\.pt)\.", printed)
    assert bundle is not None
    recorded = read_header(bundle[1]).provenance["base"]
    assert recorded["weights"] == weights_hash(load_checkpoint(base).state_dict)
    assert list((tmp_path / "mine").rglob("adapter*.safetensors"))
    assert main(["inspect", bundle[1], "--json"]) == 0
    provenance = json.loads(capsys.readouterr().out)["provenance"]
    assert provenance["base"]["name"] == "model_final.pt"
    assert provenance["copies"]["limit"] == 2.0
    assert main(["inspect", bundle[1]]) == 0
    assert re.search(r"copies in held-out pieces +\d+% \(its base \d+%, the composers", capsys.readouterr().out)

    assert main(["convert", bundle[1], str(tmp_path / "folder")]) == 0
    card = (tmp_path / "folder" / "README.md").read_text(encoding="utf-8")
    assert re.search(r"\| held-out pieces \| \d+% \(its base \d+%, the composers' own bars \d+%, \d+ bars\) \|", card)
    assert re.search(r"\| pieces it was trained on \| \d+% \(its base \d+%, \d+ bars\) \|", card)

    command = re.search(r"Next: midigpt (.*)", printed)
    assert command is not None
    limit = ["--set", "density_hard_limit=4", "--set", "max_attempts=1"]
    assert main([*shlex.split(command[1]), *limit]) == 0
    assert list((tmp_path / "mine" / "music").glob("*.mid"))


def test_all_weights_are_trained_if_asked_for(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finetune(folder, tmp_path / "mine", "--full") == 0
    assert "held-out loss: " in "".join(capsys.readouterr())
    assert not list((tmp_path / "mine").rglob("adapter*.safetensors"))


@pytest.mark.parametrize(
    ("more", "rate", "said"),
    [
        ((), 4e-3, "learning_rate 0.004, for an adapter of a model that is 16 wide"),
        (("--full",), 1e-3, "learning_rate 0.001, for all weights of a model that is 16 wide"),
        (("--set", "adapter=midigpt-core/none"), 1e-3, "learning_rate 0.001, for all weights"),
        (("--set", "optimizer=midigpt-core/adamw"), 4e-3, "learning_rate 0.004, for an adapter"),
        (("--set", "learning_rate=2e-4"), 2e-4, None),
        # Muon has a rate of its own.
        (("--set", "optimizer=muon"), 1e-3, None),
    ],
)
def test_the_rate_is_chosen_by_the_width_of_the_base(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    more: tuple[str, ...],
    rate: float,
    said: str | None,
) -> None:
    short = assigned(("copy_limit=0", "max_steps=1", "warmup_steps=0", "save_steps=1", "eval_steps=1"))
    assert finetune(folder, tmp_path / "mine", *short, *more) == 0
    assert json.loads((tmp_path / "mine" / "config.json").read_bytes())["learning_rate"] == rate
    printed = "".join(capsys.readouterr())
    assert said in printed if said is not None else " of a model that is " not in printed


@pytest.mark.parametrize(("width", "rate"), [(160, 4e-3), (512, 1.3e-3), (768, 8.3e-4), (1024, 6.3e-4)])
def test_wider_models_take_a_lower_rate(folder: Path, width: int, rate: float) -> None:
    header = read_header(folder / "base" / "model_final.pt")
    wide = evolve(header, architecture_config={**header.architecture_config, "n_embd": width})
    config = TrainConfig.from_file("finetune")
    adopt_rate(config, Base(name="wide", path=folder, header=wide, licence=None))
    assert config.learning_rate == rate


@frozen
class Case:
    said: str
    more: tuple[str, ...] = ()
    base: str = "base/model_final.pt"
    songs: str = "songs"


CASES = (
    Case("few: 4 pieces can be used, and fine-tuning needs 5 at least. Add songs", songs="few"),
    Case("missing.pt: there is no such file or folder", base="missing.pt"),
    Case("songs: ", base="songs"),
    Case("encoder", more=("--encoder-config", "expressive")),
    Case("nothing", more=("--set", "adapter.targets=[nothing]")),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.said)
def test_what_cannot_be_is_refused_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: Case
) -> None:
    few = folder / "few"
    if not few.exists():
        few.mkdir()
        for path in sorted((folder / "songs").glob("mutopia*.mid"))[:4]:
            shutil.copy(path, few)
    assert finetune(folder, tmp_path / "mine", *case.more, base=case.base, songs=case.songs) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("Error: ")
    assert case.said in error
    assert not list(tmp_path.rglob("*.pt"))


def test_without_room_for_the_index_nothing_is_trained(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midigpt_core.training.reporting.training_bars.host_memory", lambda: 100)
    assert finetune(folder, tmp_path / "mine") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("Error: the copy index does not fit in")
    assert "music_copy_sample" in error
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pt", ".ckpt", ".npy", ".safetensors")]


def test_without_held_out_songs_nothing_is_watched(folder: Path, tmp_path: Path) -> None:
    settings = ("eval_share=0", "max_steps=2", "warmup_steps=1", "save_steps=2", "precision=fp32")
    command = ["finetune", str(folder / "songs"), "--from", str(folder / "base" / "model_final.pt"), "--minutes", "1"]
    assert main([*command, "-o", str(tmp_path / "mine"), *assigned(settings)]) == 0
    assert "copies" not in read_header(tmp_path / "mine" / "model_final.pt").provenance


def test_ctrl_c_saves_the_step_and_the_printed_command_goes_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingModule.training_step

    def training_step(self: TrainingModule, batch: Any, batch_idx: int) -> Any:
        if self.trainer.global_step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", training_step)
        assert finetune(folder, tmp_path / "mine") == 128 + signal.SIGINT
    printed = "".join(capsys.readouterr())
    assert "Stopped by SIGINT after step 2 of 6. Wrote" in printed
    assert "Traceback" not in printed
    assert {path.name for path in (tmp_path / "mine" / "checkpoints").iterdir()} == {
        "step2.ckpt",
        "model-step2.pt",
        "adapter-step2.safetensors",
    }
    command = re.search(r"To go on: midigpt (.*)", printed)
    assert command is not None
    assert main(shlex.split(command[1])) == 0
    assert (tmp_path / "mine" / "model_final.pt").is_file()


def test_ctrl_c_before_the_first_step_leaves_no_model(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = session.generate

    def generate(*arguments: Any, **more: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments, **more)

    monkeypatch.setattr(session, "generate", generate)
    assert finetune(folder, tmp_path / "mine") == 128 + signal.SIGINT
    printed = "".join(capsys.readouterr())
    assert "Interrupted." in printed or "before a step was taken" in printed
    assert "To go on" not in printed
    assert not list(tmp_path.rglob("*.pt"))


def test_a_source_can_be_named_for_a_mixed_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = folder / "mixed"
    if not mixed.exists():
        shutil.copytree(folder / "songs", mixed)
        pq.write_table(pa.table({"music": pa.array([b"MThd"], pa.binary())}), mixed / "more.parquet")
    assert finetune(folder, tmp_path / "mine", songs="mixed") == 2
    assert "Name one source (--source NAME)" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.pt"))
    assert finetune(folder, tmp_path / "mine", "--source", "midifiles", songs="mixed") == 0
    assert finetune(folder, tmp_path / "other", "--source", "midifile") == 2
    assert "Did you mean 'midifiles'?" in capsys.readouterr().err


def test_a_folder_of_songs_is_needed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = str(folder / "base" / "model_final.pt")
    assert main(["finetune", "--from", base, "-o", str(tmp_path / "mine")]) == 2
    assert "Missing argument 'DATA'" in capsys.readouterr().err
