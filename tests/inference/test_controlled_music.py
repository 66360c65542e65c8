"""Sessions with controls: what they write with any weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from midigpt_core.errors import EncodingError
from midigpt_core.inference import (
    GenerationRequest,
    InferenceConfig,
    RequestValidationError,
    SamplingSession,
    TrackPrompt,
)
from midigpt_core.inference.session import run_together
from midigpt_core.score import Score
from midigpt_core.score.editing import empty_score, note_table, with_bars
from midigpt_core.testing import music
from support.inference import PRESETS, engine, notes_outside

SCORE = music.scores()[0]  # two melodic tracks and drums, eight bars in 4/4
POSITIONS = {"positions": [{"pos": 24}, {"pos": 9, "polyphony": 2}, {"pos": 0}], "microtiming": False}


def session(*prompts: TrackPrompt, preset: str = "yellow", score: Score = SCORE, **config: Any) -> SamplingSession:
    config = {"seed": 11, "silence_check": False, **config}
    return engine(preset).session(score, GenerationRequest(prompts, InferenceConfig(**config)))


def notes(score: Score, track: int) -> dict[int, list[tuple[float, int, float]]]:
    """By bar: onset and duration in twelfths of a quarter note, and pitch between them."""
    table, unit = note_table(score).where(note_table(score).track == track), score.resolution / 12
    bars: dict[int, list[tuple[float, int, float]]] = {}
    for bar, onset, pitch, length in zip(table.bar, table.onset, table.pitch, table.duration, strict=True):
        bars.setdefault(int(bar), []).append((onset / unit, int(pitch), length / unit))
    return {bar: sorted(found) for bar, found in bars.items()}


def onsets(score: Score, track: int, bars: Any) -> list[list[float]]:
    found = notes(score, track)
    return [[onset for onset, _, _ in found.get(bar, [])] for bar in bars]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, [0, 9, 9, 24]),
        ({"density_hard_limit": 2}, [0, 9]),
        ({"polyphony_hard_limit": 1}, [0, 9, 24]),
    ],
)
@pytest.mark.parametrize("preset", PRESETS)
def test_notes_begin_where_the_rhythm_says(preset: str, limits: dict[str, int], expected: list[float]) -> None:
    controls = {"rhythm_mask": POSITIONS}
    infill = session(TrackPrompt(id=1, bars=[2, 3], controls=controls), preset=preset, **limits).run()
    assert onsets(infill, 1, [2, 3]) == [expected] * 2
    prompts = [
        TrackPrompt(id=1, bars=range(4, 8), autoregressive=True, controls=controls),
        TrackPrompt(id=2, bars=[1], controls=controls),
    ]
    made = session(*prompts, preset=preset, **limits).run()
    assert onsets(made, 1, range(4, 8)) == [expected] * 4
    assert onsets(made, 2, [1]) == [expected], "drums too"


def test_positions_beyond_the_bar_are_left_out() -> None:
    rhythm = {"positions": [{"pos": 0}, {"pos": 60}, {"pos": 70}]}
    made = session(TrackPrompt(id=1, bars=[2], controls={"rhythm_mask": rhythm})).run()
    assert onsets(made, 1, [2]) == [[0]]


def test_a_grid_of_full_strength_is_kept_and_of_none_changes_nothing() -> None:
    made = session(TrackPrompt(id=1, bars=[2, 3], controls={"rhythm_mask": {"grid": {"unit": "eighth"}}})).run()
    assert {onset % 6 for bar in onsets(made, 1, [2, 3]) for onset in bar} == {0}
    free = {"grid": {"unit": "eighth", "strength": 0}}
    made = session(TrackPrompt(id=1, bars=[2, 3], controls={"rhythm_mask": free})).run()
    assert made.digest() == session(TrackPrompt(id=1, bars=[2, 3])).run().digest()


@pytest.mark.parametrize("autoregressive", [True, False])
@pytest.mark.parametrize("preset", ["yellow", "expressive"])
def test_pitches_are_those_of_the_mask(preset: str, autoregressive: bool) -> None:
    mask = {"scale": "minor_pentatonic", "root": 9, "shape": {"type": "uniform", "min": 40, "max": 80}}
    prompts = [
        TrackPrompt(id=1, bars=range(4, 8), autoregressive=autoregressive, controls={"pitch_mask": mask}),
        TrackPrompt(
            id=2, bars=[1], controls={"pitch_mask": {"pitches": [36, 38]}},
            bar_controls={} if autoregressive else {1: {"pitch_mask": {"pitches": [42]}}},
        ),
    ]  # fmt: skip
    made = session(*prompts, preset=preset).run()
    melodic = {pitch for bar in range(4, 8) for _, pitch, _ in notes(made, 1).get(bar, [])}
    assert melodic
    assert melodic <= {pitch for pitch in range(40, 81) if pitch % 12 in {9, 0, 2, 4, 7}}
    drums = {pitch for _, pitch, _ in notes(made, 2).get(1, [])}
    assert drums <= ({36, 38} if autoregressive else {42})
    assert notes_outside(made, {(1, bar) for bar in range(4, 8)} | {(2, 1)}) == notes_outside(
        SCORE, {(1, bar) for bar in range(4, 8)} | {(2, 1)}
    )


def reference() -> Score:
    """Four bars of a melody; notes of bars 1 and 2 at ticks 6, 6, 18 and 30 of 12 per quarter."""
    content = empty_score(4, [(0, False)]).to_dict()
    unit = content["resolution"] // 12
    rows = [(6, 60, 3), (6, 64, 7), (18, 67, 12), (30, 62, 5)]
    content["tracks"][0]["notes"] = [
        [bar, tick * unit, tick_length * unit, pitch, 80 + 5 * index, 0]
        for bar in (1, 2)
        for index, (tick, pitch, tick_length) in enumerate(rows)
    ]
    return Score.from_dict(content)


@pytest.mark.parametrize("autoregressive", [True, False])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_remix_keeps_onsets_and_all_that_is_not_drawn(preset: str, autoregressive: bool) -> None:
    score = reference()
    before = notes(score, 0)
    for amount, rewritten in ((0.1, 1), (0.25, 2), (0.5, 4), (1.0, 8)):
        prompt = TrackPrompt(id=0, bars=[1, 2], autoregressive=autoregressive, controls={"remix": {"amount": amount}})
        made = session(prompt, score=score, preset=preset).run()
        after = notes(made, 0)
        assert onsets(made, 0, [1, 2]) == [[6, 6, 18, 30]] * 2
        assert [[length for _, _, length in after[bar]] for bar in (1, 2)] == [
            [length for _, _, length in before[bar]] for bar in (1, 2)
        ]
        # A note that is drawn may get its old pitch again.
        changed = sum(old[1] != new[1] for bar in (1, 2) for old, new in zip(before[bar], after[bar], strict=True))
        assert 0 < changed <= rewritten, "one draw over all bars of the request"


def test_a_remix_keeps_velocities_and_a_full_one_only_what_is_not_drawn() -> None:
    score = reference()
    old = note_table(score)
    encoder = engine("expressive").encoder
    made = session(
        TrackPrompt(id=0, bars=[1, 2], controls={"remix": {"amount": 0.25}}), score=score, preset="expressive"
    )
    new = note_table(made.run())
    levels = [np.digitize(table.velocity, np.arange(0, 128, 4)) for table in (old, new)]
    assert np.abs(levels[0] - levels[1]).max() <= 1, "the same velocities, as the encoder rounds them"
    assert encoder.note_grid is not None
    full = session(TrackPrompt(id=0, bars=[1, 2], controls={"remix": {"amount": 0.25, "mode": "full"}}), score=score)
    after = notes(full.run(), 0)
    before = notes(score, 0)
    assert [[onset for onset, _, _ in after[bar]] for bar in (1, 2)] == [[6, 6, 18, 30]] * 2
    same = sum(one == two for bar in (1, 2) for one, two in zip(before[bar], after[bar], strict=True))
    assert same >= 6


def test_candidates_draw_other_notes_and_each_is_what_its_seed_gives() -> None:
    prompt = TrackPrompt(id=0, bars=[1, 2], controls={"remix": {"amount": 0.25}})
    variations = session(prompt, score=reference(), num_candidates=4).run_variations()
    assert len({score.digest() for score in variations}) > 1
    assert variations[2].digest() == session(prompt, score=reference(), seed=13).run().digest()


def test_a_remix_obeys_the_pitch_mask_and_names_chords_without_room() -> None:
    mask = {"scale": "major", "root": 1}
    controls = {"remix": {"amount": 0.25}, "pitch_mask": mask}
    made = session(TrackPrompt(id=0, bars=[1, 2], controls=controls), score=reference()).run()
    assert onsets(made, 0, [1, 2]) == [[6, 6, 18, 30]] * 2
    assert {pitch % 12 for bar in (1, 2) for _, pitch, _ in notes(made, 0)[bar]} <= {1, 3, 5, 6, 8, 10, 0}
    narrow = {"remix": {"amount": 0.25}, "pitch_mask": {"pitches": [60]}}
    with pytest.raises(
        RequestValidationError, match="bars 1-2: remix keeps chords of 2 notes, and pitch_mask leaves 1"
    ):
        session(TrackPrompt(id=0, bars=[1, 2], controls=narrow), score=reference())
    made = session(TrackPrompt(id=0, bars=[1, 2], controls=narrow), score=reference(), polyphony_hard_limit=1).run()
    assert {pitch for bar in (1, 2) for _, pitch, _ in notes(made, 0)[bar]} == {60}


def test_remixed_bars_without_notes_are_written_freely() -> None:
    made = session(TrackPrompt(id=0, bars=[0, 1], controls={"remix": {"amount": 0.25}}), score=reference(), seed=3)
    assert onsets(made.run(), 0, [1]) == [[6, 6, 18, 30]]
    assert made.generated_bars == [{(0, 0), (0, 1)}]
    alone = session(TrackPrompt(id=0, bars=[0], controls={"remix": {"amount": 0.25}}), score=reference(), seed=3)
    assert notes(alone.run(), 0)[0], "no bar to remix has notes"


def test_steps_whose_notes_all_stay_are_not_repeated_for_novelty() -> None:
    prompt = TrackPrompt(id=0, bars=[1, 2], controls={"remix": {"amount": 0.1}})
    made = session(prompt, score=reference(), bars_per_step=1, max_attempts=5)
    made.run()
    assert len(made.plan) == 2
    assert min(made.attempts.values()) == 1


def test_bars_have_controls_of_their_own() -> None:
    prompt = TrackPrompt(
        id=1,
        bars=[1, 2, 3],
        controls={"rhythm_mask": POSITIONS},
        bar_controls={2: {"rhythm_mask": {"positions": [{"pos": 6}]}, "pitch_mask": {"pitches": [50]}}, 3: None},
    )
    made = session(prompt, bars_per_step=1).run()
    assert onsets(made, 1, [1, 2, 3]) == [[0, 9, 9, 24], [6], [0, 9, 9, 24]]
    assert [pitch for _, pitch, _ in notes(made, 1)[2]] == [50]


def test_a_time_signature_of_a_single_bar() -> None:
    score = with_bars(empty_score(8, [(0, False), (33, False)]), 8)
    prompt = TrackPrompt(id=1, bars=[2, 3], bar_controls={3: {"time_signature": "3/4"}})
    made = session(prompt, score=score).run()
    assert [(bar.numerator, bar.denominator) for bar in made.tracks[1].bars[1:5]] == [(4, 4), (4, 4), (3, 4), (4, 4)]


def test_a_batch_gives_what_each_session_gives_alone() -> None:
    """Sessions with controls, with others and without any share their batches and nothing else."""

    def sessions() -> list[SamplingSession]:
        asked = [
            TrackPrompt(id=1, bars=[2, 3], controls={"rhythm_mask": POSITIONS}),
            TrackPrompt(id=1, bars=[2, 3, 4]),
            TrackPrompt(id=0, bars=[5], controls={"remix": {"amount": 0.5}, "pitch_mask": {"scale": "major"}}),
            TrackPrompt(
                id=0,
                bars=[5, 6],
                autoregressive=True,
                controls={
                    "pitch_mask": {"shape": {"type": "normal", "mean": 50, "std": 3}},
                    "rhythm_mask": {"grid": {"unit": "quarter", "strength": 0.9}},
                },
            ),
        ]
        return [session(prompt, seed=seed, max_attempts=1) for seed, prompt in enumerate(asked)]

    alone = [each.run().digest() for each in sessions()]
    assert [score.digest() for score in run_together(sessions())] == alone


def test_each_step_has_a_stream_of_its_own() -> None:
    """Two steps that see the same music do not write the same."""
    score = empty_score(8, [(0, False)])
    made = session(
        TrackPrompt(id=0, bars=[1, 6]), score=score, model_dim=4, bars_per_step=1, mask_mode="remove", temperature=2.0
    )
    written = notes(made.run(), 0)
    assert len(made.plan) == 2
    assert written.get(1) != written.get(6)


def test_shuffled_steps_are_those_of_the_seed_and_all_bars_are_written() -> None:
    prompt = TrackPrompt(id=1, bars=range(8))
    made = session(prompt, bars_per_step=1, shuffle=True, seed=5)
    order = [bar for step in made.plan for _, bar in step.step.cells]
    assert order == [6, 3, 1, 0, 7, 2, 5, 4]
    result = made.run()
    assert made.generated_bars == [{(1, bar) for bar in range(8)}]
    assert session(prompt, bars_per_step=1, shuffle=True, seed=5).run().digest() == result.digest()


def test_some_of_the_bars_are_written_and_the_others_stay() -> None:
    prompts = [TrackPrompt(id=0, bars=range(4)), TrackPrompt(id=1, bars=[1, 3])]
    made = session(*prompts, infill_probability=0.4, seed=5, num_candidates=2)
    scores = made.run_variations()
    assert made.generated_bars == [{(0, 2), (1, 1)}] * 2
    for score in scores:
        assert notes_outside(score, {(0, 2), (1, 1)}) == notes_outside(SCORE, {(0, 2), (1, 1)})


def test_batch_attempts_and_names_of_masking_change_nothing() -> None:
    prompt = TrackPrompt(id=1, bars=[2, 3], mask_bars=[5])
    plain = session(prompt, mask_mode="attention").run().digest()
    assert session(prompt, mask_mode="attention", batch_attempts=True).run().digest() == plain
    for mode in ("attention_approx", "attention_skip"):
        assert session(prompt, mask_mode=mode).run().digest() == plain


def test_notes_that_must_be_written_count_when_a_step_is_fitted() -> None:
    rhythm = {"positions": [{"pos": tick, "polyphony": 2} for tick in range(0, 48, 3)]}
    prompt = TrackPrompt(id=1, bars=range(8), controls={"rhythm_mask": rhythm})
    config = InferenceConfig(seed=1, context="all", silence_check=False, bars_per_step=2)
    made = engine("yellow", 640).session(SCORE, GenerationRequest([prompt], config))
    assert made.narrowed
    assert onsets(made.run(), 1, range(8)) == [[tick for tick in range(0, 48, 3) for _ in range(2)]] * 8
    with pytest.raises(EncodingError, match="take more than the model's 420 tokens"):
        engine("yellow", 420).session(SCORE, GenerationRequest([prompt], config))
