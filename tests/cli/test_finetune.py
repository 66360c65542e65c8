"""``midigpt finetune`` on a folder of songs: what it says, what it leaves, and what it refuses."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from attrs import frozen

from midigpt_core.checkpoint import load_checkpoint, read_header
from midigpt_core.checkpoint.adapters import weights_hash
from midigpt_core.cli.main import main

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
    copied = re.search(r"copies: (\d+)% of (\d+) generated bars are in your songs, (\d+)% of the base's; of", printed)
    assert copied is not None
    assert int(copied[2]) > 0
    assert (tmp_path / "mine" / "copies.npy").is_file()

    bundle = re.search(r"The bundle is (\S+\.pt)\.", printed)
    assert bundle is not None
    recorded = read_header(bundle[1]).provenance["base"]
    assert recorded["weights"] == weights_hash(load_checkpoint(base).state_dict)
    assert list((tmp_path / "mine").rglob("adapter*.safetensors"))
    assert main(["inspect", bundle[1], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["provenance"]["base"]["name"] == "model_final.pt"

    command = re.search(r"Next: midigpt (.*)", printed)
    assert command is not None
    limit = ["--set", "density_hard_limit=4", "--set", "max_attempts=1"]
    assert main([*shlex.split(command[1]), *limit]) == 0
    assert list((tmp_path / "mine" / "music").glob("*.mid"))


def test_all_weights_are_trained_if_asked_for(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finetune(folder, tmp_path / "mine", "--full") == 0
    assert "held-out loss: " in "".join(capsys.readouterr())
    assert not list((tmp_path / "mine").rglob("adapter*.safetensors"))


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


def test_a_folder_of_songs_is_needed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = str(folder / "base" / "model_final.pt")
    assert main(["finetune", "--from", base, "-o", str(tmp_path / "mine")]) == 2
    assert "Missing argument 'DATA'" in capsys.readouterr().err
