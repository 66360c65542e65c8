"""Windows that are rotated and stretched, against a second implementation note by note."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
from scipy.stats import binomtest

from midigpt_core.data.reshaping import WindowReshaper
from midigpt_core.data.settings import StreamSettings
from midigpt_core.data.windows import WindowDrawer
from midigpt_core.encoding.window_encoder import window_score
from midigpt_core.keys import Stage, derive
from midigpt_core.records import Corpus
from midigpt_core.score import Score
from midigpt_core.score.columns import in_memory_corpus
from support.windows import EchoEncoder, EchoOptions, corpus_of

if TYPE_CHECKING:
    from midigpt_core.records import WindowBatch

SETTINGS: dict[str, Any] = {"num_bars_choices": (4,), "transpose_range": (0, 0), "velocity_scale": (1.0, 1.0)}
DRAWS = 400


@pytest.fixture(scope="module")
def corpus(request: pytest.FixtureRequest) -> Corpus:
    """Real music, with upbeats, changing signatures and several tracks."""
    files = sorted((request.config.rootpath / "tests" / "data" / "midi").glob("*.mid"))
    return in_memory_corpus([Score.from_bytes(file.read_bytes()) for file in files])


def drawn(corpus: Corpus, settings: StreamSettings, seed: int = 3) -> tuple[np.ndarray, WindowBatch]:
    keys = derive(seed, Stage.DRAW, np.arange(DRAWS))
    pieces = np.arange(DRAWS) % corpus.num_pieces
    found = WindowDrawer(corpus, EchoEncoder(EchoOptions()), None, settings).draw(keys, pieces)
    return keys[found.draw], found.windows


def settings_of(**changes: Any) -> StreamSettings:
    return StreamSettings(**{**SETTINGS, "mask_apply_probability": 0.0, "min_fill_ratio": 0.25, **changes})


def notes_of(corpus: Corpus, windows: WindowBatch, index: int) -> list[Counter[tuple[int, int, int, int, int]]]:
    """By track: bar, onset, duration, pitch and velocity of each note."""
    score = window_score(corpus, windows, index)
    return [
        Counter(
            (bar, note.onset, note.duration, note.pitch, note.velocity)
            for bar in range(int(windows.num_bars[index]))
            for note in track.bars[bar].notes
        )
        for track in score.tracks
    ]


def times(values: list[Counter[Any]]) -> Any:
    return [sorted(one.elements()) for one in values]


def test_bars_are_rotated_with_their_signatures(corpus: Corpus) -> None:
    settings = settings_of(bar_rotation_probability=1.0)
    keys, windows = drawn(corpus, settings)
    read, reshaped = WindowReshaper(corpus, settings).reshape(keys, windows)
    rotations = Counter()
    for index in range(len(windows)):
        before, after = notes_of(corpus, windows, index), notes_of(read, reshaped, index)
        bars = int(windows.num_bars[index])
        possible = [
            rotation
            for rotation in range(1, bars)
            if all(
                then == Counter({((bar - rotation) % bars, *rest): count for (bar, *rest), count in first.items()})
                for first, then in zip(before, after, strict=True)
            )
        ]
        assert possible, index
        rotations[possible[0]] += 1
        signatures = [
            [score.columns.bar_length[bar] for bar in range(bars)]
            for score in (window_score(corpus, windows, index), window_score(read, reshaped, index))
        ]
        assert any(signatures[1] == signatures[0][rotation:] + signatures[0][:rotation] for rotation in possible)
    assert {*rotations} == {1, 2, 3}


def stretched(corpus: Corpus, windows: WindowBatch, index: int, factor: Fraction, first: int) -> Any:
    """What the window is with notes ``factor`` times as long, read from bar ``first`` of its piece on."""
    bars = int(windows.num_bars[index])
    reading = -(-bars // 2) if factor == 2 else 2 * bars
    longer = attrs.evolve(
        windows,
        start_bar=np.full(len(windows), first, np.int32),
        num_bars=np.full(len(windows), reading, np.int32),
    )
    score = window_score(corpus, longer, index)
    length = round(score.columns.bar_length[0] * score.columns.resolution)
    found = []
    for track in score.tracks:
        moved: Counter[Any] = Counter()
        for bar in range(reading):
            for note in track.bars[bar].notes:
                time = int((bar * length + note.onset) * factor)
                if time // length < bars:
                    duration = max(int(note.duration * factor), 1)
                    moved[time // length, time % length, duration, note.pitch, note.velocity] += 1
        found.append(moved)
    return found


def test_notes_take_half_or_double_their_time(corpus: Corpus) -> None:
    settings = settings_of(time_stretch_probability=1.0)
    keys, windows = drawn(corpus, settings)
    read, reshaped = WindowReshaper(corpus, settings).reshape(keys, windows)
    kinds = Counter()
    for index in range(len(windows)):
        after = notes_of(read, reshaped, index)
        if reshaped.piece[index] == windows.piece[index]:
            assert after == notes_of(corpus, windows, index)
            kinds["as it was"] += 1
            continue
        start, bars = int(windows.start_bar[index]), int(windows.num_bars[index])
        double = [stretched(corpus, windows, index, Fraction(2), start + offset) for offset in range(bars // 2 + 1)]
        if any(after == one for one in double):
            kinds["double"] += 1
        else:
            assert after == stretched(corpus, windows, index, Fraction(1, 2), start)
            kinds["half"] += 1
        filled = [len({bar for bar, *_ in track}) for track in after]
        assert min(filled) >= 1
    assert min(kinds["double"], kinds["half"]) > 20


def test_a_window_that_changes_its_signature_is_not_stretched() -> None:
    settings = settings_of(time_stretch_probability=1.0)
    corpus = corpus_of([(12, [list(range(12))] * 2)])
    columns = corpus.shards[0].columns
    lengths = np.array([4.0, 3.0] * 6)
    uneven = Corpus(
        [attrs.evolve(corpus.shards[0], columns=attrs.evolve(columns, bar_length=lengths))], corpus.piece_offsets
    )
    keys, windows = drawn(uneven, settings)
    assert WindowReshaper(uneven, settings).reshape(keys, windows)[1] is windows
    keys, windows = drawn(corpus, settings)
    assert WindowReshaper(corpus, settings).reshape(keys, windows)[1] is not windows


def test_a_window_depends_on_its_own_key(corpus: Corpus) -> None:
    settings = settings_of(time_stretch_probability=0.5, bar_rotation_probability=0.5, track_dropout=0.3)
    keys, windows = drawn(corpus, settings)
    read, reshaped = WindowReshaper(corpus, settings).reshape(keys, windows)
    some = np.arange(5, len(windows), 7)
    part = attrs.evolve(
        windows,
        **{
            name: getattr(windows, name)[some]
            for name in attrs.fields_dict(type(windows))
            if isinstance(getattr(windows, name), np.ndarray)
        },
    )
    alone, again = WindowReshaper(corpus, settings).reshape(keys[some], part)
    for place, index in enumerate(some.tolist()):
        assert times(notes_of(alone, again, place)) == times(notes_of(read, reshaped, index))


def test_how_often_windows_change(corpus: Corpus) -> None:
    settings = settings_of(bar_rotation_probability=0.3)
    keys, windows = drawn(corpus, settings)
    _, reshaped = WindowReshaper(corpus, settings).reshape(keys, windows)
    changed = int((reshaped.piece != windows.piece).sum())
    assert binomtest(changed, len(windows), 0.3).pvalue > 1e-3
    off = settings_of()
    assert WindowReshaper(corpus, off).reshape(keys, windows) == (corpus, windows)


def test_tracks_are_left_out_but_not_all() -> None:
    corpus = corpus_of([(8, [list(range(8))] * 4)])
    plain = settings_of(min_tracks=2, max_tracks=4)
    _, whole = drawn(corpus, plain)
    _, without = drawn(corpus, attrs.evolve(plain, track_dropout=0.5))
    counts = [(windows.tracks >= 0).sum(axis=1) for windows in (whole, without)]
    assert (counts[1] >= 2).all()
    assert counts[1].sum() < counts[0].sum()
    width = without.tracks.shape[1]
    for before, after in zip(whole.tracks.tolist(), without.tracks.tolist(), strict=True):
        left = [track for track in after if track >= 0]
        assert left == [track for track in before if track in left]
        assert after == [*left, *[-1] * (width - len(left))]
    _, one = drawn(corpus, attrs.evolve(plain, min_tracks=1, track_dropout=1.0))
    assert {*(one.tracks >= 0).sum(axis=1).tolist()} == {1}


def test_evaluation_has_none_of_it() -> None:
    settings = settings_of(time_stretch_probability=1.0, bar_rotation_probability=1.0, track_dropout=1.0).evaluation()
    found = (settings.time_stretch_probability, settings.bar_rotation_probability, settings.track_dropout)
    assert found == (0.0, 0.0, 0.0)
