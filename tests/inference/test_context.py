"""Which context tracks are kept: one test per clause of the rule, on songs of a few notes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from midigpt_core.inference.context import WindowContext, rank_context
from midigpt_core.inference.planner import Step
from midigpt_core.score import Score

if TYPE_CHECKING:
    from collections.abc import Iterable

QUARTER, BAR = 480, 1920
PIANO, ORGAN, GUITAR, BASS, VIOLIN, VIOLA, TRUMPET = 0, 16, 24, 33, 40, 41, 56
#: Bars 3 and 4 of track 0, in a window from bar 2 to bar 5.
STEP = Step(start_bar=2, num_bars=4, autoregressive=False, cells=((0, 3), (0, 4)))
WRITTEN: dict[str, Any] = {"program": PIANO, "notes": [[bar, 0, QUARTER, 60, 100, 0] for bar in range(8)]}


def track(program: int, bars: Iterable[int], pitch: int = 60, onset: int = 0, **more: Any) -> dict[str, Any]:
    """A track with a quarter note in each of ``bars``."""
    return {"program": program, "notes": [[bar, onset, QUARTER, pitch, 100, 0] for bar in bars], **more}


def drums(bars: Iterable[int], **more: Any) -> dict[str, Any]:
    return track(0, bars, pitch=36, drum=True, **more)


def measured(
    *others: dict[str, Any], step: Step = STEP, first: dict[str, Any] = WRITTEN, **cells: Any
) -> WindowContext:
    """The window of ``step`` in a song of eight bars whose first track is ``first``."""
    tracks = [{"drum": False, **content} for content in (first, *others)]
    score = Score.from_dict({"resolution": QUARTER, "tempo": 500_000, "bars": [[4, 4, 4.0]] * 8, "tracks": tracks})
    masks = {"masked": [], "before": [], **cells}
    for name, places in masks.items():
        masks[name] = np.zeros((len(tracks), 8), np.bool_)
        for place in places:
            masks[name][place] = True
        masks[name] = masks[name][:, step.start_bar : step.end_bar]
    return WindowContext.of(score, step, **masks)


def ranked(*others: dict[str, Any], kept: Iterable[int] = (), **more: Any) -> list[int]:
    """All other tracks, from the one to keep to the one to leave out; the first of them is track 1."""
    candidates = [number for number in range(1, len(others) + 1) if number not in set(kept)]
    return rank_context(measured(*others, **more), candidates, list(kept))


def test_what_sounds_in_the_bars_asked_for_comes_first_and_silence_last() -> None:
    silent, elsewhere = track(ORGAN, [0, 1, 6, 7]), track(ORGAN, [])
    narrow = Step(start_bar=0, num_bars=8, autoregressive=False, cells=((0, 3),))
    far, near, inside = track(GUITAR, [0, 1, 5, 6, 7]), track(VIOLIN, [4]), track(TRUMPET, [3])
    context = measured(silent, far, near, inside, elsewhere, step=narrow)
    assert context.nearness.tolist() == [2, 1, 1, 2, 3, 0]
    assert ranked(elsewhere, far, near, inside, step=narrow) == [4, 3, 2, 1]
    # Silent in the window, whatever there is outside it; not even drums and basses are kept for that.
    assert ranked(drums([0, 1, 6, 7]), track(BASS, [0, 7]), track(VIOLIN, [4])) == [3, 1, 2]


def test_a_note_that_is_held_sounds_in_all_of_its_bars() -> None:
    pad = {"program": 89, "notes": [[2, 0, 3 * BAR, 60, 100, 0]]}
    short = {"program": 89, "notes": [[2, 0, BAR, 60, 100, 0]]}
    earlier = {"program": 89, "notes": [[1, 0, 4 * BAR, 60, 100, 0]]}
    context = measured(pad, short, earlier)
    # A note that starts before the window has no token in it.
    assert context.nearness.tolist() == [2, 3, 2, 0]
    assert context.bars.tolist() == [2, 3, 1, 0]


def test_masked_bars_are_silent_and_bars_that_will_be_written_sound() -> None:
    busy, empty = track(VIOLIN, range(8)), track(TRUMPET, [])
    assert measured(busy, empty).nearness.tolist() == [2, 3, 0]
    cells: dict[str, Any] = {"masked": [(1, slice(None))], "before": [(2, 3)]}
    assert measured(busy, empty, **cells).nearness.tolist() == [2, 0, 3]
    assert ranked(busy, empty, **cells) == [2, 1]
    # What an earlier step will replace says nothing about pitches; what is both written and masked is not seen.
    assert set(measured(busy, before=[(1, slice(None))]).note_track.tolist()) == {0}
    assert measured(busy, before=[(1, slice(None))], masked=[(1, slice(None))]).nearness.tolist() == [2, 0]


def test_a_doubling_gives_way_even_to_an_equal_instrument() -> None:
    lead = track(VIOLIN, range(8), pitch=67, onset=QUARTER)
    octave_below = track(TRUMPET, range(8), pitch=55, onset=QUARTER)
    other_line = track(VIOLA, range(3, 8), pitch=64)
    low = track(BASS, range(8), pitch=41)
    assert ranked(lead, octave_below, other_line, low) == [4, 1, 3, 2]
    # A tick of swing more or less is the same place, another beat of the bar is not.
    assert ranked(lead, track(TRUMPET, range(8), pitch=67, onset=QUARTER + 9), other_line, low) == [4, 1, 3, 2]
    assert ranked(lead, track(TRUMPET, range(8), pitch=67, onset=2 * QUARTER), other_line, low) == [4, 1, 2, 3]
    # One line of what is kept is a doubling, what has more than is kept is none.
    both = {"program": VIOLIN, "notes": [*lead["notes"], *other_line["notes"]]}
    assert measured(both, lead, first=WRITTEN).doubling(1).tolist() == [False, True, True]
    assert measured(both, lead, first=WRITTEN).doubling(2).tolist() == [False, False, True]


def test_melodies_never_double_drums() -> None:
    context = measured(drums([3]), track(VIOLIN, [3], pitch=36), drums([3]))
    assert context.doubling(1).tolist() == [False, True, False, True]
    assert context.doubling(2).tolist() == [False, False, True, False]


def test_one_kit_and_one_bass_come_first() -> None:
    organ, guitar = track(ORGAN, range(8), pitch=62), track(GUITAR, range(8), pitch=64, onset=QUARTER)
    low = track(BASS, [3], pitch=40, onset=QUARTER)
    kit = drums([4], onset=2 * QUARTER)
    assert ranked(organ, guitar, low, kit)[:2] == [3, 4]
    shaker = track(0, [3], pitch=70, onset=3 * QUARTER, drum=True)
    second = track(BASS + 1, [3], pitch=45, onset=3 * QUARTER)
    assert ranked(organ, guitar, shaker, kit, low, second) == [3, 5, 1, 2, 4, 6]
    # None is missing when the step writes it.
    assert ranked(organ, kit, first={**WRITTEN, "drum": True}) == [1, 2]
    assert ranked(organ, low, first={**WRITTEN, "program": BASS}) == [1, 2]


def test_without_a_bass_instrument_the_lowest_track_is_the_bass() -> None:
    high, low, middle = (
        track(program, [3], pitch=pitch) for program, pitch in ((ORGAN, 84), (GUITAR, 43), (VIOLIN, 65))
    )
    assert measured(high, low, middle).bass.tolist() == [False, False, True, False]
    assert ranked(high, low, middle) == [2, 1, 3]
    assert measured(high, low, track(BASS, [3], pitch=90)).bass.tolist() == [False, False, False, True]
    # A bass that is silent here is none.
    assert measured(high, low, track(BASS, [0])).bass.tolist() == [False, False, True, False]
    assert measured(drums([3]), track(ORGAN, []), first=track(PIANO, [])).bass.tolist() == [False, False, False]


def test_other_instruments_come_before_equal_ones() -> None:
    pianos = [track(program, range(8), pitch=62 + program, onset=program * QUARTER) for program in (0, 1, 2)]
    flute = track(73, [3], pitch=80)
    low = track(BASS, [3])
    assert ranked(low, *pianos, flute) == [1, 5, 2, 3, 4]
    # The written track is a piano: its family is heard anyway.
    assert ranked(low, pianos[1], track(ORGAN, [3], pitch=70)) == [1, 3, 2]


def test_a_track_that_sounds_in_more_bars_comes_first_and_the_lower_number_decides() -> None:
    low = track(BASS, range(8))
    some, more = track(ORGAN, [3, 4], pitch=70), track(GUITAR, [2, 3, 4], pitch=75)
    assert ranked(low, some, more) == [1, 3, 2]
    assert ranked(low, some, track(GUITAR, [3, 5], pitch=75)) == [1, 2, 3]


def test_what_is_kept_anyway_counts_as_chosen() -> None:
    kit, low, organ = drums(range(8)), track(BASS, range(8)), track(ORGAN, range(3, 5), pitch=70)
    more = drums(range(8), onset=QUARTER)
    assert ranked(kit, more, low, organ) == [1, 3, 4, 2]
    assert ranked(kit, more, low, organ, kept=[1]) == [3, 4, 2]
    assert ranked(kit, low, organ, track(BASS + 2, range(8), onset=QUARTER), kept=[1, 2]) == [3, 4]
    # A silent track that is kept stands for nothing.
    assert ranked(drums([]), more, low, organ, kept=[1])[0] == 2


@pytest.mark.parametrize("bars", [1, 2])
def test_a_window_may_be_as_narrow_as_a_bar(bars: int) -> None:
    step = Step(start_bar=3, num_bars=bars, autoregressive=True, cells=((0, 3),))
    context = measured(track(VIOLIN, [4]), track(VIOLA, [3]), step=step, first=track(PIANO, []))
    assert context.nearness.tolist() == [0, 2 if bars == 2 else 0, 3]


def test_tracks_with_bars_of_their_own_are_measured_in_them() -> None:
    """The second track's third bar is as long as two of the first one's."""
    rows = [[3, 4, 3.0]] * 4
    tracks = [
        {"program": PIANO, "drum": False, "notes": []},
        {"program": VIOLIN, "drum": False, "bars": [*rows[:2], [6, 4, 6.0], rows[0]], "notes": [[2, 0, BAR, 60, 9, 0]]},
        {"program": VIOLA, "drum": False, "notes": [[2, 0, BAR, 60, 9, 0]]},
    ]
    score = Score.from_dict({"resolution": QUARTER, "tempo": 500_000, "bars": rows, "tracks": tracks})
    nothing = np.zeros((3, 4), np.bool_)
    step = Step(start_bar=0, num_bars=4, autoregressive=False, cells=((0, 3),))
    assert WindowContext.of(score, step, nothing, nothing).nearness.tolist() == [0, 2, 3]
