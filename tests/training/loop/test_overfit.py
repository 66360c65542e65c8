"""A model that learns at all can learn a few pieces by heart: what breaks learning silently shows here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from midigpt_core.keys import Stage, derive, uniforms
from midigpt_core.score import Score
from midigpt_core.training.run import train
from support.training import evaluations, metrics, write_shard

if TYPE_CHECKING:
    from pathlib import Path

    from support.training import Configure

BARS = 4
_SIXTEENTH = 120


def noise(number: int, notes_per_bar: int) -> Score:
    """A piece of notes at random: nothing in it can be guessed, only known."""
    draws = uniforms(derive(7, Stage.DRAW, number), 1 + BARS * notes_per_bar * 3)[0]
    per_note = draws[1:].reshape(BARS, notes_per_bar, 3)
    notes = [
        [bar, int(16 * onset) * _SIXTEENTH, _SIXTEENTH * (1 + int(4 * duration)), 40 + int(40 * pitch), 80, 0]
        for bar in range(BARS)
        for onset, duration, pitch in sorted(per_note[bar].tolist())
    ]
    track = {"program": int(draws[0] * 100), "drum": False, "notes": notes}
    return Score.from_dict({"resolution": 480, "tempo": 500_000, "bars": [[4, 4, 4.0]] * BARS, "tracks": [track]})


@pytest.mark.parametrize(
    ("pieces", "notes_per_bar", "width", "steps"),
    [
        pytest.param(6, 6, 64, 180, id="6-pieces"),
        pytest.param(32, 12, 128, 500, id="32-pieces", marks=pytest.mark.slow),
    ],
)
def test_pieces_are_learnt_by_heart(
    configure: Configure, tmp_path: Path, *, pieces: int, notes_per_bar: int, width: int, steps: int
) -> None:
    files = []
    for number in range(pieces):
        files.append(tmp_path / f"{number}.mid")
        files[-1].write_bytes(noise(number, notes_per_bar).to_bytes())
    shard = write_shard(tmp_path / "noise.parquet", files)
    config = configure(
        n_embd=width,
        n_layer=2,
        n_head=4,
        batch_size=4,
        num_bars_choices=[BARS],
        max_steps=steps,
        warmup_steps=10,
        learning_rate=3e-3,
        eval_steps=steps,
        infill_probability=0.0,
        transpose_range=[0, 0],
        velocity_scale=[1.0, 1.0],
    )
    result = train(config, shard, shard)
    (evaluation,) = evaluations(result.run_dir)
    assert metrics(result.run_dir)[0]["loss"] > 6
    # Which of the pieces a document will be cannot be known before its first tokens.
    assert evaluation["eval_loss"] < 0.1
