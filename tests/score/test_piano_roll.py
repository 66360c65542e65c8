"""Pictures of scores: every note is where it belongs, in the colour of what happened to its bar."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from midigpt_core.score import Score
from midigpt_core.score.piano_roll import NEW, OLD, WRITTEN, piano_roll, png_bytes, save_piano_roll

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


def score_of(*tracks: Sequence[Sequence[int]], bars: int = 4, beats: Sequence[int] = ()) -> Score:
    """Tracks of (bar, onset in quarters, duration in quarters, pitch); ``beats`` per bar, else 4 in ``bars`` bars."""
    rows = [
        {
            "program": 33,
            "drum": False,
            "notes": [[bar, 480 * on, 480 * length, pitch, 90, 0] for bar, on, length, pitch in t],
        }
        for t in tracks
    ]
    shape = [[count, 4, float(count)] for count in beats or [4] * bars]
    content: dict[str, Any] = {"resolution": 480, "tempo": 500_000, "bars": shape, "tracks": rows}
    return Score.from_dict(content)


def boxes(image: Image.Image, colour: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
    """Filled rectangles of one colour below the legend as (left, top, right, bottom), from left to right."""
    is_colour: NDArray[np.bool_] = (np.asarray(image)[30:] == colour).all(axis=2)
    found = []
    while is_colour.any():
        y, x = (int(value) for value in np.argwhere(is_colour)[0])
        right = x + int(np.argmin(np.append(is_colour[y, x:], False))) - 1
        bottom = y + int(np.argmin(np.append(is_colour[y:, x], False))) - 1
        assert is_colour[y : bottom + 1, x : right + 1].all()
        is_colour[y : bottom + 1, x : right + 1] = False
        found.append((x, y + 30, right, bottom + 30))
    return sorted(found)


def test_notes_of_written_bars_stand_out_where_they_sound() -> None:
    score = score_of([(0, 0, 4, 40), (1, 2, 2, 52)], [(1, 0, 1, 60), (3, 0, 4, 60)])
    image = piano_roll(score, {(0, 1), (1, 3)})
    (kept, other), (low, high) = boxes(image, OLD), boxes(image, NEW)
    bar = (kept[2] - kept[0] + 2) / 1.0
    # By columns: bar 1 begins a bar's width after bar 0; two quarters are half a bar; lanes do not overlap.
    assert other[0] - kept[0] == pytest.approx(bar, abs=2)
    assert low[0] - kept[0] == pytest.approx(1.5 * bar, abs=2)
    assert low[2] - low[0] == pytest.approx(bar / 2, abs=3)
    assert high[0] - kept[0] == pytest.approx(3 * bar, abs=3)
    # By rows: the higher pitch of the first lane lies above the lower one, the second track below the first.
    assert low[3] < kept[1]
    assert min(other[1], high[1]) > max(kept[3], low[3])


def test_a_written_bar_without_notes_can_be_seen() -> None:
    image = np.asarray(piano_roll(score_of([(0, 0, 1, 60)]), {(0, 2)}))
    columns = np.flatnonzero((image == WRITTEN).all(axis=2).any(axis=0))
    assert not boxes(Image.fromarray(image), NEW)
    left, right = columns[0], columns[-1]
    lines = image.shape[1] - 132 - 14
    assert right - left == pytest.approx(lines / 4, abs=3)


def test_a_long_piece_is_drawn_around_what_was_written() -> None:
    notes = [(bar, 0, 4, 60) for bar in range(300)]
    score = score_of(notes, bars=300)
    image = piano_roll(score, {(0, bar) for bar in range(150, 154)})
    assert image.width <= 1500
    assert len(boxes(image, NEW)) == 4
    assert len(boxes(image, OLD)) == 16
    assert len(boxes(piano_roll(score, bars=(10, 12)), OLD)) == 3


def test_of_many_tracks_those_that_were_written_are_drawn() -> None:
    """A picture of 1,024 tracks takes a gigabyte and twenty seconds."""
    tracks = [[(0, 0, 1, 60)]] * 300
    image = piano_roll(score_of(*tracks), {(299, 0), (150, 0)})
    assert image.height < 64 * 200
    assert len(boxes(image, NEW)) == 2
    assert len(boxes(image, OLD)) == 62


def test_bars_of_unequal_length() -> None:
    first, last = boxes(piano_roll(score_of([(0, 0, 1, 60), (3, 0, 4, 60)], beats=(3, 3, 4, 4))), OLD)
    assert (last[0] - first[0]) / (last[2] + 2 - first[0]) == pytest.approx(10 / 14, abs=0.01)


@pytest.mark.parametrize("score", [score_of(), score_of([]), score_of(bars=0), score_of([], bars=0)])
def test_scores_without_notes_tracks_or_bars(score: Score) -> None:
    assert piano_roll(score).width > 100


def test_the_file_is_a_png(tmp_path: Path) -> None:
    score = score_of([(0, 0, 1, 60)])
    save_piano_roll(tmp_path / "a.png", score, title="a")
    read = Image.open(tmp_path / "a.png")
    assert (read.format, read.size) == ("PNG", Image.open(io.BytesIO(png_bytes(piano_roll(score)))).size)


def test_nothing_of_it_is_imported_unless_asked_for() -> None:
    code = "import sys, midigpt_core.score, midigpt_core.cli.root; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
