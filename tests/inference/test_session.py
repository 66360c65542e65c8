"""Sessions: what is asked for is written, all else comes back as it was, and the same request gives the same music."""

from __future__ import annotations

import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from midigpt_core.contracts import BundleHeader
from midigpt_core.errors import ConfigError, EncodingError
from midigpt_core.inference import (
    GenerationRequest,
    InferenceConfig,
    InferenceEngine,
    RequestValidationError,
    SamplingSession,
    TrackPrompt,
)
from midigpt_core.score import Score
from midigpt_core.score.editing import empty_score, with_bars, with_track
from midigpt_core.testing import music
from support.inference import PRESETS, engine, notes_inside, notes_outside

if TYPE_CHECKING:
    from midigpt_core.inference import Progress

SCORE = music.scores()[0]
#: 40 bars, so that windows slide.
LONG = with_bars(SCORE, 40)


def session(
    *tracks: TrackPrompt, score: Score = SCORE, on: InferenceEngine | None = None, **config: Any
) -> SamplingSession:
    config = {"seed": 11, "silence_check": False, **config}
    return (on or engine()).session(score, GenerationRequest(tracks, InferenceConfig(**config)))


def silenced(score: Score, *tracks: int) -> Score:
    """The score without the notes of ``tracks``."""
    content = score.to_dict()
    for track in tracks:
        content["tracks"][track]["notes"] = []
    return Score.from_dict(content)


def targets(*tracks: TrackPrompt) -> set[tuple[int, int]]:
    return {(prompt.id, bar) for prompt in tracks for bar in prompt.bars}


@pytest.mark.parametrize("autoregressive", [True, False])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_bars_are_written_and_nothing_else_changes(preset: str, autoregressive: bool) -> None:
    prompts = [TrackPrompt(id=1, bars=[2, 3, 6], autoregressive=autoregressive), TrackPrompt(id=2, bars=[7])]
    asked = session(*prompts, on=engine(preset))
    made = asked.run()
    cells = targets(*prompts)
    assert asked.generated_bars == [cells]
    assert notes_outside(made, cells) == notes_outside(SCORE, cells)
    assert notes_inside(made, cells) > 0
    assert notes_outside(made, set()) != notes_outside(SCORE, set())
    assert made.resolution == SCORE.resolution
    assert [len(track.bars) for track in made.tracks] == [8, 8, 8]


def test_a_piece_of_any_length_slides_windows_over_it() -> None:
    prompts = [TrackPrompt(id=0, bars=range(8, 40), autoregressive=True), TrackPrompt(id=2, bars=[1, 20, 39])]
    asked = session(*prompts, score=LONG, density_hard_limit=4)
    made = asked.run()
    cells = targets(*prompts)
    assert asked.generated_bars == [cells]
    assert notes_outside(made, cells) == notes_outside(LONG, cells)
    summary = asked.plan_summary()
    assert [row["autoregressive"] for row in summary] == sorted(
        (row["autoregressive"] for row in summary), reverse=True
    )
    assert {row["end_bar"] - row["start_bar"] for row in summary} == {8}
    assert max(len(bar.notes) for bar in made.tracks[0].bars[8:]) <= 4


def test_a_piece_shorter_than_any_window_and_a_new_track() -> None:
    short = with_track(empty_score(2, [(0, False)]), 33)
    made = session(TrackPrompt(id=1, bars=[0, 1], autoregressive=True), score=short).run()
    assert [len(track.bars) for track in made.tracks] == [2, 2]
    assert len(made.tracks[1].notes) > 0
    assert made.tracks[1].program == 33
    assert len(made.tracks[0].notes) == 0


def test_the_same_seed_gives_the_same_music_in_any_company() -> None:
    prompts = [TrackPrompt(id=1, bars=[1, 2, 30]), TrackPrompt(id=0, bars=[12, 13], autoregressive=True)]
    alone = session(*prompts, score=LONG).run().digest()
    variations = session(*prompts, score=LONG, num_candidates=5).run_variations()
    assert variations[0].digest() == alone
    assert len({score.digest() for score in variations}) == 5
    assert [score.digest() for score in session(*prompts, score=LONG, num_candidates=3).run_variations()] == [
        score.digest() for score in variations[:3]
    ]
    assert session(*prompts, score=LONG, seed=12).run().digest() != alone
    again = session(*prompts, score=LONG)
    assert again.run().digest() == again.run().digest() == alone


def test_a_fresh_seed_is_reported_and_repeats() -> None:
    first = session(TrackPrompt(id=1, bars=[1]), seed=-1)
    made = first.run().digest()
    assert session(TrackPrompt(id=1, bars=[1]), seed=first.seed).run().digest() == made
    assert session(TrackPrompt(id=1, bars=[1]), seed=-1).seed != first.seed


@pytest.mark.parametrize("mode", ["token", "attention", "remove", "auto"])
@pytest.mark.parametrize("preset", ["prism", "yellow"])
def test_what_is_masked_does_not_matter(preset: str, mode: str) -> None:
    """The notes of masked bars change nothing, in whatever way they are masked, with or without a token for it."""
    if mode == "token" and "mask_bar" not in engine(preset).encoder.provides:
        with pytest.raises(RequestValidationError, match="no MASK_BAR token"):
            session(TrackPrompt(id=1, bars=[3]), on=engine(preset), mask_mode=mode)
        return
    content = SCORE.to_dict()
    for note in content["tracks"][0]["notes"]:
        if note[0] == 2:
            note[4] = 127  # no attribute depends on velocities
    other = Score.from_dict(content)
    prompts = [TrackPrompt(id=1, bars=[3]), TrackPrompt(id=0, mask_bars=[2])]
    made = [session(*prompts, score=score, on=engine(preset), mask_mode=mode).run() for score in (SCORE, other)]
    written = [list(score.tracks[1].bars[3].notes.rows()) for score in made]
    assert written[0] == written[1]
    seen = [
        session(prompts[0], score=score, on=engine(preset), num_candidates=8).run_variations()
        for score in (SCORE, other)
    ]
    bars = [[list(score.tracks[1].bars[3].notes.rows()) for score in scores] for scores in seen]
    assert bars[0] != bars[1]


def test_an_ignored_track_does_not_matter_and_comes_back() -> None:
    ignored = TrackPrompt(id=0, ignore=True)
    made = session(TrackPrompt(id=1, bars=[3]), ignored).run()
    other = session(TrackPrompt(id=1, bars=[3]), ignored, score=silenced(SCORE, 0)).run()
    assert list(made.tracks[1].bars[3].notes.rows()) == list(other.tracks[1].bars[3].notes.rows())
    assert len(made.tracks[0].notes) == len(SCORE.tracks[0].notes)


def test_what_does_not_fit_is_left_out_or_narrowed_and_says_so() -> None:
    small = engine("yellow", 330)
    asked = session(TrackPrompt(id=1, bars=[3]), on=small, window_bars=8)
    assert asked.dropped_context or asked.narrowed
    made = asked.run()
    assert asked.generated_bars == [{(1, 3)}]
    assert notes_outside(made, {(1, 3)}) == notes_outside(SCORE, {(1, 3)})
    (planned,) = asked.plan
    assert {*planned.tracks, *planned.dropped} == {0, 1, 2}
    listed = session(TrackPrompt(id=1, bars=[3]), on=small, window_bars=8, context_drop=[0])
    assert listed.plan[0].dropped[0] == 0
    kept = session(TrackPrompt(id=1, bars=[3]), on=small, window_bars=8, context="all")
    assert kept.narrowed == [(8, 4)]
    assert kept.plan[0].tracks == (0, 1, 2)
    with pytest.raises(EncodingError, match="more than the model's 60 tokens"):
        session(TrackPrompt(id=1, bars=[3]), on=engine("yellow", 60))


def test_no_window_is_other_than_those_the_model_was_trained_on() -> None:
    plain = engine("yellow")
    header = BundleHeader(
        architecture="gpt2",
        architecture_config={},
        encoder="midigpt",
        encoder_config={},
        provenance={"stream": {"num_bars_choices": [4], "max_tracks": 2}},
    )
    trained = InferenceEngine(plain.model, plain.encoder, header=header)
    request = session(TrackPrompt(id=1, bars=[3]), on=trained, context_keep=[2])
    (planned,) = request.plan
    assert planned.step.num_bars == 4
    assert (planned.tracks, planned.dropped) == ((1, 2), (0,))
    assert [dropped.tracks for dropped in request.dropped_context] == [(0,)]
    assert request.narrowed == []
    request.run()
    assert request.generated_bars == [{(1, 3)}]
    everything = session(*(TrackPrompt(id=track, bars=[3]) for track in range(3)), on=trained)
    assert [planned.step.tracks for planned in everything.plan] == [(0, 1), (2,)]
    assert all(len(planned.tracks) <= 2 for planned in everything.plan)
    with pytest.raises(RequestValidationError, match=r"is 8: the model never saw such a window\. Choose one of 4"):
        session(TrackPrompt(id=1, bars=[3]), on=trained, window_bars=8)


def hearing(most: int) -> InferenceEngine:
    """An engine whose model was trained on windows of four bars and at most so many tracks."""
    plain = engine("yellow")
    header = BundleHeader(
        architecture="gpt2",
        architecture_config={},
        encoder="midigpt",
        encoder_config={},
        provenance={"stream": {"num_bars_choices": [4], "max_tracks": most}},
    )
    return InferenceEngine(plain.model, plain.encoder, header=header)


def band(*silent: int) -> Score:
    """Eight bars of seven tracks in which those of ``silent`` have no notes after bar 1."""
    programs = [0, 48, 50, 24, 33, 73, 0]
    tracks = [
        {
            "program": program,
            "drum": track == 6,
            "notes": [
                [bar, 120 * track, 240, 36 + 5 * track, 100, 0] for bar in range(8) if bar < 2 or track not in silent
            ],
        }
        for track, program in enumerate(programs)
    ]
    return Score.from_dict({"resolution": 480, "tempo": 500000, "bars": [[4, 4, 4.0]] * 8, "tracks": tracks})


def test_tracks_that_sound_are_kept_and_silent_ones_left_out() -> None:
    on = hearing(4)
    (planned,) = session(TrackPrompt(id=0, bars=[5]), score=band(), on=on).plan
    assert (planned.tracks, planned.dropped) == ((0, 1, 4, 6), (2, 5, 3))
    (planned,) = session(TrackPrompt(id=0, bars=[5]), score=band(1, 4, 6), on=on).plan
    assert (planned.tracks, {*planned.dropped}) == ((0, 2, 3, 5), {1, 4, 6})
    (planned,) = session(TrackPrompt(id=0, bars=[5]), score=band(1, 4, 6), on=on, context_keep=[6]).plan
    assert {0, 6} < {*planned.tracks}
    (planned,) = session(TrackPrompt(id=0, bars=[5]), score=band(), on=on, context_drop=[6]).plan
    assert planned.dropped[0] == 6


def test_a_step_hears_what_earlier_steps_wrote_and_not_what_later_ones_will() -> None:
    on = hearing(3)
    wanted = [TrackPrompt(id=track, bars=range(8), autoregressive=True) for track in (1, 4, 6)]
    plan = session(*wanted, score=band(1, 4, 6, 2, 3), on=on).plan
    last = {planned.step.tracks: planned for planned in plan if planned.step.end_bar == 8}
    # Tracks 4 and 6 are silent when the first track is written; track 5, and track 0 of another family, are not.
    assert last[1,].tracks == (0, 5, 1)
    assert last[6,].tracks == (0, 4, 6)
    # Tracks that will be rewritten count as silent, whatever notes they have now.
    plan = session(*wanted, score=band(2, 3), on=on).plan
    assert {planned.tracks for planned in plan if planned.step.tracks == (1,)} == {(0, 5, 1)}


def test_a_short_track_comes_back_when_a_long_one_has_gone() -> None:
    """Room for a few tokens only: the track that matters least is short and stays, a longer one goes."""
    content = band().to_dict()
    content["tracks"] = content["tracks"][:3]
    long, short = content["tracks"][1], content["tracks"][2]
    long["notes"] = [[bar, 60 * place, 60, 60 + place, 100, 0] for bar in range(4, 8) for place in range(32)]
    short["notes"] = [[4, 0, 240, 90, 100, 0]]
    score = Score.from_dict(content)
    (planned,) = session(TrackPrompt(id=0, bars=[5]), score=score, on=engine("yellow", 330), window_bars=4).plan
    assert (planned.tracks, planned.dropped) == ((0, 2), (1,))
    listed = {"window_bars": 4, "context_drop": [2, 1]}
    (planned,) = session(TrackPrompt(id=0, bars=[5]), score=score, on=engine("yellow", 330), **listed).plan
    assert (planned.tracks, planned.dropped) == ((0,), (2, 1))


def test_running_again_does_not_add_to_what_was_left_out() -> None:
    asked = session(TrackPrompt(id=0, bars=[5]), score=band(), on=hearing(4), num_candidates=2)
    planned = asked.dropped_context
    assert [(one.step, one.candidate, one.tracks) for one in planned] == [(0, 0, (2, 5, 3)), (0, 1, (2, 5, 3))]
    for _ in range(2):
        asked.run_variations()
        assert asked.dropped_context == planned


def test_attributes_are_forced_and_signatures_too() -> None:
    on = engine("prism")
    prompt = TrackPrompt(
        id=1,
        bars=[4, 5],
        autoregressive=True,
        attributes={"pitch_range": 17},
        bar_attributes={4: {"max_polyphony": 2}, 5: {"bar_min_polyphony": 1}},
        controls={"time_signature": "3/4"},
    )
    asked = session(prompt, score=silenced(SCORE, 0, 2), on=on)
    job = asked._job(asked.plan[0].step, 0, None, asked._pending(0))
    document = asked._prompter.prompts([asked._start], [job]).batch.tokens
    names = [on.encoder.vocabulary.name(token) for token in document]
    assert "TrackLevelPitchRangeMax(17)" in names
    assert names.count("BarLevelOnsetPolyphonyMax(2)") == 1
    assert names.count("BarLevelOnsetPolyphonyMin(1)") >= 1
    made = asked.run()
    assert [bar.numerator for bar in made.tracks[1].bars] == [4, 4, 4, 4, 3, 3, 4, 4]
    onsets = [onset for bar in made.tracks[1].bars[4:6] for onset in bar.notes.onset.tolist()]
    assert onsets
    assert max(onsets) < 3 * 480


def test_hard_limits_hold() -> None:
    prompt = TrackPrompt(id=1, bars=range(8))
    made = session(prompt, density_hard_limit=6, polyphony_hard_limit=1, num_candidates=4).run_variations()
    for score in made:
        for bar in score.tracks[1].bars:
            notes = list(bar.notes.rows())
            assert len(notes) <= 6
            for onset, *_ in notes:
                assert sum(start <= onset < start + duration for start, duration, *_ in notes) == 1


def test_filters_narrow_the_choice() -> None:
    greedy = [session(TrackPrompt(id=1, bars=[3]), seed=seed, temperature=0).run().digest() for seed in (1, 2)]
    assert greedy[0] == greedy[1]
    assert session(TrackPrompt(id=1, bars=[3]), seed=5, top_k=1).run().digest() == greedy[0]
    assert session(TrackPrompt(id=1, bars=[3]), seed=5, top_p=1e-9).run().digest() == greedy[0]
    assert session(TrackPrompt(id=1, bars=[3]), seed=5, top_k=1, mask_k=1).run().digest() == greedy[0]
    assert session(TrackPrompt(id=1, bars=[3]), temperature=0, max_attempts=1).run().digest() == greedy[0]


def test_checks_ask_again_and_then_give_up() -> None:
    # Every pitch at every onset of the grid: whatever is written was there.
    content = SCORE.to_dict()
    full = [[3, onset, 40, pitch, 90, 0] for onset in range(0, 1920, 40) for pitch in range(128)]
    content["tracks"][1]["notes"] = sorted([*content["tracks"][1]["notes"], *full], key=lambda note: note[0])
    copied = session(TrackPrompt(id=1, bars=[3]), score=Score.from_dict(content), max_attempts=4)
    copied.run()
    assert copied.attempts == {(0, 0): 4}
    fine = session(TrackPrompt(id=1, bars=[3]))
    fine.run()
    assert fine.attempts == {(0, 0): 1}
    silent = session(TrackPrompt(id=1, bars=[3]), silence_check=True, density_hard_limit=1, num_candidates=8)
    made = silent.run_variations()
    assert all(len(score.tracks[1].bars[3].notes) <= 1 for score in made)
    assert max(silent.attempts.values()) <= 3


def test_a_plan_alone_writes_nothing() -> None:
    asked = session(TrackPrompt(id=1, bars=[3]), plan_only=True)
    assert asked.run() is SCORE
    assert asked.tokens_chosen == 0
    assert asked.plan_summary() == [
        {"start_bar": 0, "end_bar": 8, "autoregressive": False, "bars": {1: [3]}, "dropped_context": []}
    ]


def test_progress_is_told_and_ends_complete() -> None:
    told: list[Progress] = []
    asked = session(TrackPrompt(id=1, bars=range(8)), num_candidates=2)
    asked.run_variations(told.append)
    assert (told[-1].steps_done, told[-1].bars_done, told[-1].bars) == (1, 16, 16)
    assert told[-1].tokens == asked.tokens_chosen > 0
    assert [one.tokens for one in told] == sorted(one.tokens for one in told)
    assert asked.tokens_read > asked.tokens_chosen


def test_cancelling_returns_the_bars_that_are_done() -> None:
    prompt = TrackPrompt(id=0, bars=range(8, 40), autoregressive=True)
    whole = session(prompt, score=LONG)
    finished = whole.run()
    asked = session(prompt, score=LONG)

    def stop(progress: Progress) -> None:
        if progress.bars_done >= 8 and progress.tokens > 200:
            asked.cancel()

    made = asked.run(stop)
    assert asked.cancelled
    done = asked.generated_bars[0]
    assert 8 <= len(done) < 32
    assert done == {(0, bar) for bar in range(8, 8 + len(done))}
    assert notes_outside(made, done) == notes_outside(LONG, done)
    for track, bar in done:
        assert list(made.tracks[track].bars[bar].notes.rows()) == list(finished.tracks[track].bars[bar].notes.rows())
    assert asked.run().digest() == finished.digest()
    assert not asked.cancelled


def test_cancelling_from_another_thread() -> None:
    asked = session(TrackPrompt(id=0, bars=range(40), autoregressive=True), score=LONG, num_candidates=16)
    started = threading.Event()
    result: list[list[Score]] = []
    thread = threading.Thread(target=lambda: result.append(asked.run_variations(lambda _: started.set())))
    thread.start()
    assert started.wait(60)
    asked.cancel()
    thread.join(60)
    assert len(result[0]) == 16
    assert asked.cancelled


def test_cancelling_before_a_run_ends_that_run_and_no_other() -> None:
    asked = session(TrackPrompt(id=1, bars=[3]), num_candidates=2)
    asked.cancel()
    made = asked.run_variations()
    assert [score.digest() for score in made] == [SCORE.digest()] * 2
    assert asked.cancelled
    assert (asked.generated_bars, asked.tokens_chosen, asked.attempts) == ([set(), set()], 0, {})
    again = asked.run()
    assert not asked.cancelled
    assert asked.generated_bars == [{(1, 3)}]
    assert again.digest() == session(TrackPrompt(id=1, bars=[3])).run().digest()


def test_cancelling_ends_the_planning_and_what_is_not_planned_is_never_written() -> None:
    cancelled = threading.Event()
    cancelled.set()
    request = GenerationRequest(tracks=[TrackPrompt(id=1, bars=[0, 1, 2, 3])], config=InferenceConfig(bars_per_step=1))
    whole = engine().session(SCORE, request)
    asked = engine().session(SCORE, request, cancel_event=cancelled)
    assert 0 < len(asked.plan) < len(whole.plan)
    for _ in range(2):
        assert asked.run().digest() == SCORE.digest()
        assert asked.cancelled
        # Too late for this session.
        cancelled.clear()


def test_a_run_that_fails_leaves_no_cancellation_behind() -> None:
    asked = session(TrackPrompt(id=1, bars=range(8)))

    def stop(_: Progress) -> None:
        asked.cancel()
        raise RuntimeError("the listener is broken")

    with pytest.raises(RuntimeError, match="listener"):
        asked.run(stop)
    asked.run()
    assert not asked.cancelled


def test_tokens_are_scored_under_teacher_forcing() -> None:
    on = engine()
    tokens = np.random.default_rng(1).integers(0, on.encoder.vocab_size, 50)
    scores = on.score_tokens(tokens)
    expected = on.logits(tokens).double().log_softmax(-1)
    assert scores.shape == (49,)
    assert np.allclose(scores, [float(expected[i, tokens[i + 1]]) for i in range(49)], atol=1e-6)
    assert on.score_tokens(tokens[:1]).shape == (0,)
    with pytest.raises(EncodingError, match="2000 tokens are more than the model's 1024"):
        on.score_tokens([0] * 2000)
    with pytest.raises(EncodingError, match="must lie in"):
        on.score_tokens([0, 10_000])


def test_lesser_precision_is_an_option_and_a_wrong_one_an_error() -> None:
    exact = engine()
    tokens = np.random.default_rng(1).integers(0, exact.encoder.vocab_size, 40)
    for precision, most in (("bfloat16", 0.02), ("int8", 0.1)):
        lesser = InferenceEngine(exact.model, exact.encoder, precision=precision)
        made = session(TrackPrompt(id=1, bars=[3]), on=lesser)
        made.run()
        assert made.generated_bars == [{(1, 3)}]
        difference = np.abs(lesser.score_tokens(tokens) - exact.score_tokens(tokens))
        assert 0 < difference.max() < most
    as_training_spells_it = InferenceEngine(exact.model, exact.encoder, precision="bf16")
    lesser = InferenceEngine(exact.model, exact.encoder, precision="bfloat16")
    assert np.array_equal(as_training_spells_it.score_tokens(tokens), lesser.score_tokens(tokens))
    with pytest.raises(ConfigError, match="float32, bfloat16, int8"):
        InferenceEngine(exact.model, exact.encoder, precision="float8").reader()


class Wrapped:
    """A model whose architecture has neither reader nor cache."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.parameters = model.parameters
        self.architecture_config = model.architecture_config

    def eval(self) -> Wrapped:
        return self

    def __call__(self, ids: Any, position_ids: Any = None, document_ids: Any = None, cache: Any = None) -> Any:
        return self.model(ids, position_ids=position_ids)


def test_other_architectures_work_through_their_forward_pass() -> None:
    exact = engine()
    plain = InferenceEngine(Wrapped(exact.model), exact.encoder)  # type: ignore[arg-type]
    ours = session(TrackPrompt(id=1, bars=[3]), on=exact, temperature=0, density_hard_limit=3).run()
    theirs = session(TrackPrompt(id=1, bars=[3]), on=plain, temperature=0, density_hard_limit=3).run()
    assert ours.digest() == theirs.digest()
    with pytest.raises(ConfigError, match="float32 only"):
        InferenceEngine(Wrapped(exact.model), exact.encoder, precision="int8").reader()  # type: ignore[arg-type]


def test_an_encoder_without_a_grammar_cannot_generate() -> None:
    class Mute(type(engine().encoder)):  # type: ignore[misc]
        def grammar(self) -> None:
            return None

    mute = InferenceEngine(engine().model, Mute(engine().encoder.config))
    with pytest.raises(EncodingError, match="no grammar"):
        session(TrackPrompt(id=1, bars=[3]), on=mute).run()


def test_a_request_with_another_configuration_is_another_request() -> None:
    request = GenerationRequest([TrackPrompt(id=1, bars=[3])], InferenceConfig(seed=1, silence_check=False))
    assert request.with_config(seed=2) == attrs.evolve(request, config=attrs.evolve(request.config, seed=2))
    one, two = (engine().session(SCORE, asked).run().digest() for asked in (request, request.with_config(seed=2)))
    assert one != two


def test_many_tracks_and_bars_take_little_memory() -> None:
    """Kilobytes of MIDI have 20,000 bars of each of 1,024 tracks; a number for each of these is 160 MB."""
    score = with_bars(SCORE, 20_000)
    for _ in range(60):
        score = with_track(score, 0)
    columns = score.columns
    assert len(columns.track_program) > 60
    wide = engine()
    session(TrackPrompt(id=0, bars=[4, 5]), score=score, on=wide)  # what is imported and built once is not counted
    tracemalloc.start()
    try:
        session(TrackPrompt(id=0, bars=[4, 5]), score=score, on=wide)
        assert tracemalloc.get_traced_memory()[1] < 8 * len(columns.track_program) * 20_000 / 2
    finally:
        tracemalloc.stop()
