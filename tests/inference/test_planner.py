"""Plans: every bar is written once, in windows that the model knows and that overlap."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midigpt_core.inference import GenerationRequest, InferenceConfig, TrackPrompt
from midigpt_core.inference.planner import Step, narrowed, plan, waves
from midigpt_core.inference.trained import TrainedWindows

if TYPE_CHECKING:
    from collections.abc import Sequence

TRAINED = TrainedWindows(sizes=(4, 8))


def steps(*tracks: TrackPrompt, num_bars: int = 16, **config: Any) -> list[Step]:
    return plan(GenerationRequest(tracks, InferenceConfig(**config)), num_bars, TRAINED)


def windows(found: Sequence[Step]) -> list[tuple[int, int, tuple[int, ...]]]:
    return [(step.start_bar, step.end_bar, tuple(bar for _, bar in step.cells)) for step in found]


def test_an_empty_track_is_written_window_by_window_with_history() -> None:
    found = steps(TrackPrompt(id=0, bars=range(16), autoregressive=True), window_bars=8)
    assert windows(found) == [
        (0, 8, tuple(range(8))),
        (4, 12, (8, 9, 10, 11)),
        (8, 16, (12, 13, 14, 15)),
    ]


def test_a_continuation_takes_as_much_history_as_fits() -> None:
    found = steps(TrackPrompt(id=0, bars=[14, 15], autoregressive=True), window_bars=8)
    assert windows(found) == [(8, 16, (14, 15))]
    one_by_one = steps(TrackPrompt(id=0, bars=[8, 9, 10, 11], autoregressive=True), window_bars=4, bars_per_step=1)
    assert windows(one_by_one) == [(5, 9, (8,)), (6, 10, (9,)), (8, 12, (10, 11))]


def test_infill_windows_are_centred_on_what_they_write() -> None:
    assert windows(steps(TrackPrompt(id=0, bars=[7, 8]), window_bars=8)) == [(4, 12, (7, 8))]
    assert windows(steps(TrackPrompt(id=0, bars=[0]), window_bars=8)) == [(0, 8, (0,))]
    assert windows(steps(TrackPrompt(id=0, bars=[15]), window_bars=8)) == [(8, 16, (15,))]
    long = steps(TrackPrompt(id=0, bars=range(12)), window_bars=8)
    assert windows(long) == [(0, 8, (0, 1, 2, 3)), (2, 10, (4, 5, 6, 7)), (6, 14, (8, 9, 10, 11))]


def test_infill_leaves_bars_of_the_track_to_look_at() -> None:
    """Which writes better (docs/infilling.md); where the piece has no more bars, all are written at once."""
    whole = steps(TrackPrompt(id=0, bars=range(4, 8)), window_bars=4)
    assert windows(whole) == [(3, 7, (4, 5)), (5, 9, (6, 7))]
    assert windows(steps(TrackPrompt(id=0, bars=[4, 5, 6]), window_bars=4)) == [(3, 7, (4, 5, 6))]
    assert windows(steps(TrackPrompt(id=0, bars=range(4)), window_bars=4, num_bars=4)) == [(0, 4, (0, 1, 2, 3))]
    asked = steps(TrackPrompt(id=0, bars=range(4, 8)), window_bars=4, bars_per_step=4)
    assert windows(asked) == [(4, 8, (4, 5, 6, 7))]


def test_bars_that_span_a_window_are_written_at_once_where_every_track_keeps_one() -> None:
    gaps = steps(TrackPrompt(id=0, bars=[3, 10]), window_bars=8)
    assert windows(gaps) == [(3, 11, (3, 10))]
    one_kept = steps(TrackPrompt(id=0, bars=[3, 4, 5, 6, 7, 9, 10]), window_bars=8)
    assert windows(one_kept) == [(3, 11, (3, 4, 5, 6, 7, 9, 10))]
    two = steps(TrackPrompt(id=0, bars=range(4)), TrackPrompt(id=1, bars=range(4, 8)), window_bars=8)
    assert windows(two) == [(0, 8, tuple(range(8)))]
    assert [step.tracks for step in two] == [(0, 1)]
    # A track that keeps no bar splits the step for both; a span wider than the window needs a second step.
    full = steps(TrackPrompt(id=0, bars=range(8)), TrackPrompt(id=1, bars=[0, 7]), window_bars=8)
    assert windows(full) == [(0, 8, (0, 1, 2, 3, 0)), (2, 10, (4, 5, 6, 7, 7))]
    assert len(steps(TrackPrompt(id=0, bars=[3, 11]), window_bars=8)) == 2


def test_narrowed_steps_leave_bars_to_look_at_too() -> None:
    """A step that is too long for the model is planned again in a narrower window, by the same rule."""
    config = InferenceConfig()
    gaps = Step(start_bar=2, num_bars=8, autoregressive=False, cells=((0, 3), (0, 6)))
    assert windows(narrowed(gaps, 16, 4, config)) == [(3, 7, (3, 6))]
    full = Step(start_bar=2, num_bars=8, autoregressive=False, cells=tuple((0, bar) for bar in range(3, 7)))
    assert windows(narrowed(full, 16, 4, config)) == [(2, 6, (3, 4)), (4, 8, (5, 6))]


def test_the_window_is_the_widest_that_the_piece_fills() -> None:
    assert [step.num_bars for step in steps(TrackPrompt(id=0, bars=[0]), num_bars=9)] == [8]
    assert [step.num_bars for step in steps(TrackPrompt(id=0, bars=[0]), num_bars=7)] == [4]
    assert [step.num_bars for step in steps(TrackPrompt(id=0, bars=[0]), num_bars=2)] == [4]


def test_tracks_are_filled_in_together_or_in_groups() -> None:
    prompts = [TrackPrompt(id=track, bars=[3]) for track in range(3)]
    assert [step.tracks for step in steps(*prompts)] == [(0, 1, 2)]
    assert [step.tracks for step in steps(*prompts, tracks_per_step=2)] == [(0, 1), (2,)]


def test_steps_that_do_not_see_one_another_are_written_at_once() -> None:
    found = steps(TrackPrompt(id=0, bars=[1, 30]), num_bars=40, window_bars=8, bars_per_step=1)
    assert waves(found) == [[0, 1]]
    dependent = steps(TrackPrompt(id=0, bars=range(16), autoregressive=True), window_bars=8)
    assert waves(dependent) == [[0], [1], [2]]
    # The second track's step must not come before the first track's, which would see it.
    both = [*dependent[:1], Step(start_bar=0, num_bars=8, autoregressive=False, cells=((1, 7),))]
    assert waves(both) == [[0], [1]]


tracks = st.lists(
    st.builds(
        lambda bars, autoregressive: {"bars": sorted(bars), "autoregressive": autoregressive},
        st.sets(st.integers(0, 40), max_size=30),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@given(
    tracks,
    st.integers(1, 41),
    st.fixed_dictionaries(
        {
            "window_bars": st.sampled_from(["auto", 4, 8]),
            "bars_per_step": st.sampled_from(["auto", 1, 2, 4, 8, 20]),
            "tracks_per_step": st.sampled_from(["auto", 1, 2]),
            "min_overlap_bars": st.integers(0, 9),
        }
    ),
)
def test_every_bar_is_written_once_in_a_window_of_the_piece(
    prompts: list[dict[str, Any]], num_bars: int, config: dict[str, Any]
) -> None:
    request = GenerationRequest(
        [TrackPrompt(id=track, **prompt) for track, prompt in enumerate(prompts)],
        InferenceConfig(**config),
    )
    found = plan(request, num_bars, TRAINED)
    asked = sorted((track, bar) for track, prompt in enumerate(prompts) for bar in prompt["bars"] if bar < num_bars)
    assert sorted(cell for step in found for cell in step.cells) == asked
    parts = [part for step in found for part in narrowed(step, num_bars, 4, request.config)]
    for step in [*found, *parts]:
        assert step.num_bars in TRAINED.sizes
        assert step.start_bar == 0 or step.end_bar <= num_bars
        assert all(step.start_bar <= bar < step.end_bar for _, bar in step.cells)
        if step.autoregressive:
            assert len(step.tracks) == 1
    groups = waves(found)
    assert sorted(index for group in groups for index in group) == list(range(len(found)))
    # As early as may be: after what a step sees, and not before a step that would see it.
    number = {index: wave for wave, group in enumerate(groups) for index in group}
    for index, step in enumerate(found):
        earliest = [
            number[before] + sees(step, other)
            for before, other in enumerate(found[:index])
            if sees(step, other) or sees(other, step)
        ]
        assert number[index] == max(earliest, default=0)


def sees(step: Step, other: Step) -> bool:
    return any(step.start_bar <= bar < step.end_bar for _, bar in other.cells)


@pytest.mark.parametrize("autoregressive", [False, True])
def test_the_longest_piece_is_planned_bar_by_bar(autoregressive: bool) -> None:
    """Time grows with the number of steps, not with its square, which would take ten minutes here."""
    started = time.process_time()
    prompt = TrackPrompt(id=0, bars=range(20_000), autoregressive=autoregressive)
    found = steps(prompt, num_bars=20_000, bars_per_step=1, model_dim=4)
    assert len(waves(found)) == len(found) >= 19_990
    assert time.process_time() - started < 20


@pytest.mark.parametrize("start", [3, 8])
def test_a_narrowed_step_writes_the_same_bars(start: int) -> None:
    step = Step(
        start_bar=start, num_bars=8, autoregressive=True, cells=tuple((1, bar) for bar in range(start, start + 8))
    )
    parts = narrowed(step, 20, 4, InferenceConfig())
    assert [cell for part in parts for cell in part.cells] == list(step.cells)
