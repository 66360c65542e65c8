"""Copies in the training data are counted, left out on request, and warned of in evaluation data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import numpy as np
import pytest

from midigpt_core.cli.main import main
from midigpt_core.score import Score
from midigpt_core.training import evaluate as evaluation
from midigpt_core.training.dry_run import describe
from midigpt_core.training.planning.copies import warn_of_leakage
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import train
from support.training import curve, evaluations, write_shard

if TYPE_CHECKING:
    from pathlib import Path

    from support.training import Configure


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory, midi_files: list[Path]) -> Path:
    """Each file once, and three of them two semitones higher and once more as they are."""
    folder = tmp_path_factory.mktemp("copied")
    more = []
    for file in [file for file in midi_files if not Score.from_midi(file).columns.track_drum.any()][:3]:
        columns = Score.from_midi(file).columns
        Score(attrs.evolve(columns, note_pitch=columns.note_pitch + np.uint8(2))).to_midi(folder / f"up-{file.name}")
        (folder / f"again-{file.name}").write_bytes(file.read_bytes())
        more += [folder / f"up-{file.name}", folder / f"again-{file.name}"]
    return write_shard(folder / "copied.parquet", [*midi_files, *more])


def test_copies_are_counted_and_left_out(configure: Configure, copied: Path) -> None:
    plans = {how: prepare(configure(deduplicate=how), copied) for how in ("none", "exact", "near")}
    pieces = {how: len(plan.training.pieces) for how, plan in plans.items()}
    assert (pieces["none"] - pieces["exact"], pieces["exact"] - pieces["near"]) == (3, 3)
    for plan in plans.values():
        assert plan.train_pieces.copies == {"exact": 3, "near": 3}
        assert sum(plan.train_pieces.selection.values()) == plan.train_pieces.corpus_pieces
        assert plan.train_pieces.selection["valid"] == len(plan.training.pieces)
    assert "exact_copy" not in plans["none"].train_pieces.selection
    assert plans["exact"].train_pieces.selection["exact_copy"] == 3
    assert "near_copy" not in plans["exact"].train_pieces.selection
    assert plans["near"].train_pieces.selection["near_copy"] == 3
    assert "3 exact, 3 near (deduplicate is near)" in describe(plans["near"])


def test_each_training_set_is_deduplicated_on_its_own(configure: Configure, copied: Path, shard: Path) -> None:
    sets = [{"paths": str(copied)}, {"paths": str(shard), "weight": 2.0}]
    plan = prepare(configure(deduplicate="near", train_sets=sets))
    alone = prepare(configure(), shard)
    assert [one.pieces for one in plan.training.sets] == [len(alone.training.pieces)] * 2
    assert plan.train_pieces.copies == {"exact": 3, "near": 3}


def test_a_run_without_copies_resumes_and_evaluates_as_it_was(
    configure: Configure, copied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"deduplicate": "near", "eval_share": 0.3, "max_steps": 4, "save_steps": 2, "eval_steps": 2}
    whole = train(configure("whole", **settings), copied)
    assert json.loads((whole.run_dir / "provenance.json").read_text())["deduplicate"] == "near"
    assert json.loads((whole.run_dir / "corpus.json").read_text())["train"]["selection"]["near_copy"] == 3
    assert evaluation.evaluate(whole.bundle, copied).loss == evaluations(whole.run_dir)[-1]["eval_loss"]
    assert "not exactly what" not in caplog.text
    expected = curve(whole.run_dir)
    (whole.run_dir / "checkpoints" / "step4.ckpt").unlink()
    again = train(configure("whole", **settings), copied, resume="auto")
    assert curve(again.run_dir) == expected
    other = train(configure("other", **{**settings, "deduplicate": "none"}), copied)
    assert curve(other.run_dir) != expected


def test_evaluation_data_that_is_trained_on_is_warned_of(
    configure: Configure, copied: Path, shard: Path, eval_shard: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = prepare(configure(), shard, eval_shard)
    assert "1 of 1 evaluation pieces are also in the training data" in caplog.text
    assert "1 note for note, 0 in most of their bars" in caplog.text
    assert "Take these pieces out of one of the two." in caplog.text
    caplog.clear()
    # Nobody can take pieces out of a share that is held out.
    warn_of_leakage(plan.train_pieces, plan.train_pieces, held_out=True)
    assert "too low for new music. --deduplicate near leaves copies out." in caplog.text
    caplog.clear()
    # Nothing of what is held out is trained on, also if it is copied.
    prepare(configure(eval_share=0.3), copied)
    assert "evaluation pieces" not in caplog.text


def test_the_commands_show_copies(
    copied: Path, shard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def printed(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == 0
        return "".join(capsys.readouterr())

    flags = ["--set", "n_embd=32", "--set", "n_layer=1", "--set", "n_head=2", "--set", "max_tracks=2"]
    trained = printed("train", copied, "-o", tmp_path / "run", "--dry-run", *flags)
    assert "with 3 exact and 3 near copies (--deduplicate near leaves them out)" in trained
    assert "3 exact, 3 near (deduplicate is none)" in trained
    shown = printed("corpus", "info", copied)
    rows = dict(line.rsplit(maxsplit=1) for line in shown.splitlines() if "copies of pieces" in line)
    assert rows == {"exact copies of pieces": "3", "near copies of pieces": "3"}
    printed("preprocess", shard)
    found = json.loads(printed("corpus", "info", shard, "--eval-data", copied, "--json"))
    assert found["copies"] == {"exact": 0, "near": 0}
    assert found["leakage"]["near_pieces"] == 3
    assert main(["train", str(copied), "--set", "deduplicate=nearly"]) == 2
    assert "deduplicate" in capsys.readouterr().err
