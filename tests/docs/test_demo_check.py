"""The check that ends ``make run``: what it lets pass, and what it says."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

DEMO = Path(__file__).resolve().parents[2] / "docs" / "demo"
PIECES = 5
NOTES = 10


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(DEMO))
    return import_module("check")


@pytest.mark.parametrize(
    ("filled", "fits", "says"),
    [
        ([(10, 0)] * PIECES, True, "they fit"),
        ([(5, 0)] * PIECES, True, "they fit"),
        ([(0, 0)] * PIECES, False, "fewer than 50% of the original notes"),
        ([(5, 0)] * (PIECES - 1) + [(4, 0)], False, "fewer than 50% of the original notes"),
        ([(10, 1)] * PIECES, True, "they fit"),
        ([(10, 2)] * PIECES, False, "more than 10% in the median piece"),
        # The median is the measure: two pieces of five may fail, three may not.
        ([(10, 0)] * 3 + [(10, 10)] * 2, True, "0.0% in the median piece, which is the measure; 40.0% of all filled"),
        (
            [(10, 0)] * 2 + [(10, 10)] * 3,
            False,
            "100.0% in the median piece, which is the measure; 60.0% of all filled",
        ),
    ],
)
def test_silence_and_wrong_registers_fail(
    check: Any, filled: list[tuple[int, int]], fits: bool, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    register = check.Register
    assert check.keeps([register(*piece) for piece in filled], [register(NOTES, 0)] * PIECES) is fits
    said = capsys.readouterr().out
    assert says in said
    assert f"{sum(notes for notes, _ in filled)} notes filled into 5 melodies that had 50" in said
