"""A share of the pieces is held out for evaluation, by their music."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import numpy as np
import pyarrow.parquet as pq

from midigpt_core.corpus.similar import corpus_keys
from midigpt_core.corpus.store import open_corpus
from midigpt_core.score import Score
from midigpt_core.training import evaluate as evaluation
from midigpt_core.training.planning.held_out import held_out_keys
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import train
from support.training import evaluations, write_shard

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from midigpt_core.training.planning.prepare import Plan
    from support.training import Configure


def keys_of(plan: Plan) -> tuple[set[int], set[int]]:
    """The keys of what is trained on, and of what is held out."""
    assert plan.evaluation is not None
    exact = corpus_keys(open_corpus(plan.training.shards)).exact
    return set(exact[plan.training.pieces].tolist()), set(exact[plan.evaluation.pieces].tolist())


def copies(files: list[Path], folder: Path) -> list[Path]:
    """Each file, and each file two semitones higher under another name."""
    folder.mkdir()
    found = list(files)
    for file in files:
        columns = Score.from_midi(file).columns
        higher = columns.note_pitch + np.uint8(0 if columns.track_drum.any() else 2)
        Score(attrs.evolve(columns, note_pitch=higher)).to_midi(folder / f"higher-{file.name}")
        found.append(folder / f"higher-{file.name}")
    return found


def test_a_bound_by_hash_holds_out_about_the_share_and_at_least_one() -> None:
    keys = np.sort(np.random.default_rng(1).integers(0, 2**64, 4000, np.uint64))
    assert 300 < len(held_out_keys(keys, 0.1)) < 500
    # Further keys move none.
    assert set(held_out_keys(keys[::2], 0.1).tolist()) <= set(held_out_keys(keys, 0.1).tolist())
    assert held_out_keys(keys[-3:], 0.1).tolist() == keys[-3:-2].tolist()
    assert len(held_out_keys(keys[:3], 0.9)) == 2
    assert len(held_out_keys(keys[:1], 0.1)) == 0


def test_copies_and_transposed_copies_are_on_one_side(
    configure: Configure, midi_files: list[Path], tmp_path: Path
) -> None:
    shard = write_shard(tmp_path / "both.parquet", copies(midi_files, tmp_path / "copies"))
    plan = prepare(configure(eval_share=0.4), shard)
    trained, held = keys_of(plan)
    assert trained
    assert held
    assert not trained & held
    assert plan.evaluation is not None
    assert len(plan.training.pieces) + len(plan.evaluation.pieces) > len(trained) + len(held)


def test_the_share_of_the_sets_is_held_out_of_each(configure: Configure, shard: Path, eval_shard: Path) -> None:
    plan = prepare(configure(eval_share=0.3, train_sets=[{"paths": str(shard)}, {"paths": str(eval_shard)}]))
    assert plan.is_held_out
    assert len(plan.training.pieces) == sum(one.pieces for one in plan.training.sets)
    # The only piece of the second set is a copy of one in the first: both stay.
    assert plan.training.sets[1].pieces == 1
    trained, held = keys_of(plan)
    assert not trained & held


def test_one_piece_cannot_be_split(configure: Configure, eval_shard: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan = prepare(configure(eval_share=0.1), eval_shard)
    assert plan.evaluation is None
    assert "too little" in caplog.text


def test_a_bundle_is_evaluated_on_what_its_run_held_out(
    configure: Configure, shard: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = train(configure(eval_share=0.3, max_steps=2, warmup_steps=1), shard)
    assert json.loads((result.run_dir / "provenance.json").read_text())["held_out"] == 0.3
    report = evaluation.evaluate(result.bundle, shard)
    assert report.loss == evaluations(result.run_dir)[-1]["eval_loss"]
    assert "not exactly what" not in caplog.text
    fewer = tmp_path / "fewer.parquet"
    pq.write_table(pq.read_table(shard).slice(1), fewer)
    evaluation.evaluate(result.bundle, fewer)
    assert "not exactly what" in caplog.text, "nobody says that pieces of the training may be among them"
