"""The check that ends ``make run``: what it lets pass, what it says, and on which pieces."""

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
        ([(10, 2)] * PIECES, False, "more than 10% outside"),
        # All notes are the measure: a median piece without fault does not help, nor harms one that is all wrong.
        ([(10, 0)] * 3 + [(10, 10)] * 2, False, "40.0% of all filled notes, 0.0% of the original ones (0.0% in the"),
        ([(2, 2)] * 3 + [(60, 0)] * 2, True, "4.8% of all filled notes, 0.0% of the original ones (100.0% in the"),
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


@pytest.mark.parametrize(("loss", "low", "says"), [(0.749, True, "low enough"), (0.751, False, "too high")])
def test_the_last_evaluation_decides_about_the_loss_of_filled_bars(
    check: Any, loss: float, low: bool, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluations = [{"eval_loss": 0.5, "eval_loss/infill_target": one} for one in (2.0, 0.1, loss)]
    assert check.fills([{"loss": 3.0}, *evaluations, {"loss": 0.5}]) is low
    assert says in capsys.readouterr().out


def test_no_piece_that_a_model_is_checked_on_is_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DEMO))
    compose, register, control = map(import_module, ("compose", "register", "control"))
    splits = compose.splits(2000, 30)
    trained_on = set(splits["train"])
    assert len(trained_on) == 2000
    assert list(splits["validation"]) == list(register.VALIDATION)
    assert not trained_on.intersection(splits["validation"])
    assert not trained_on.intersection(control.UNSEEN)
    assert not set(control.UNSEEN).intersection(register.VALIDATION)
