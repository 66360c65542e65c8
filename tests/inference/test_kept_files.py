"""What a session writes goes back into the song's file, and every event outside the written bars stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from midigpt_core.inference import GenerationRequest, InferenceConfig, RequestValidationError, TrackPrompt
from midigpt_core.score import Score
from midigpt_core.score.editing import num_bars, with_bars, with_track
from support.generated_midi import generate
from support.inference import engine
from support.kept_events import assert_follows_the_standard, assert_only_cells_differ
from support.midi_bytes import MidiBytes

MIDI_FOLDER = Path(__file__).parents[1] / "data" / "midi"
FILES = sorted(path for path in MIDI_FOLDER.glob("*.mid") if path.stem != "empty")
MIDI = MidiBytes()


def _written(content: bytes, seed: int) -> tuple[bytes, set[tuple[int, int]]] | None:
    """The file after a request for random bars of random tracks, and the cells written; None: no such request."""
    draw = np.random.default_rng(seed)
    score = Score.from_bytes(content)
    tracks, bars = len(score.tracks), num_bars(score)
    if not tracks:
        return None
    chosen = draw.choice(tracks, min(tracks, int(draw.integers(1, 3))), replace=False)
    first = int(draw.integers(bars))
    prompts = [
        TrackPrompt(id=int(track), bars=range(first, min(first + 2, bars)), autoregressive=bool(draw.random() < 0.3))
        for track in chosen
    ]
    if draw.random() < 0.3:
        score = with_track(score, 33)
        prompts.append(TrackPrompt(id=tracks, bars=range(first, min(first + 2, bars)), autoregressive=True))
    if draw.random() < 0.2:
        score = with_bars(score, bars + 2)
        prompts[0] = TrackPrompt(id=prompts[0].id, bars=[bars, bars + 1], autoregressive=True)
    config = InferenceConfig(seed=seed, density_hard_limit=6, model_dim=4, silence_check=False)
    try:
        session = engine(max_tokens=2048).session(score, GenerationRequest(prompts, config))
    except RequestValidationError:
        # Random signatures, most of which the encoder cannot write.
        return None
    made = session.run()
    return made.to_bytes(like=content), session.generated_bars[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_real_songs_keep_all_but_the_written_bars(path: Path) -> None:
    content = path.read_bytes()
    written = _written(content, seed=1)
    assert written is not None
    assert written[1]
    assert_only_cells_differ(content, *written)
    assert_follows_the_standard(written[0], content)


def test_generated_files_keep_all_but_the_written_bars() -> None:
    count = 0
    for seed in range(80):
        content = generate(seed, MIDI).content
        written = _written(content, seed)
        if written is not None:
            count += 1
            assert_only_cells_differ(content, *written)
    assert count >= 10
