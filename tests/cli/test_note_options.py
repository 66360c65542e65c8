"""The options of ``midigpt generate`` that control notes: what they mean, and what is refused."""

from __future__ import annotations

from typing import Any

import attrs
import click
import pytest

from midigpt_core.cli.asked import Flags, read_flags, request_of
from midigpt_core.cli.note_options import NoteOption, contradictions, controls_of, read_bar_option, read_option
from midigpt_core.inference import RequestValidationError
from midigpt_core.inference.controls import NOTE_CONTROLS, read_control
from midigpt_core.testing import music
from support.inference import engine

SCORE = music.scores()[0]  # two melodic tracks and drums, eight bars


def flags(*, bar_controls: tuple[str, ...] = (), tracks: str = "0,1", **options: tuple[str, ...]) -> Flags:
    return Flags(
        has_input=True,
        tracks=tracks,
        bars="2-3",
        new_tracks=(),
        continue_bars=None,
        autoregressive=False,
        attributes=(),
        note_options={name.replace("_", "-"): values for name, values in options.items()},
        bar_controls=bar_controls,
    )


def controls(**given: Any) -> list[tuple[dict[str, Any], dict[int, Any]]]:
    """The controls and those of bars of each track."""
    asked = read_flags(flags(**given))
    assert asked.problems == ()
    request = request_of(asked, SCORE, engine().encoder, {}, engine().trained)
    return [(dict(prompt.controls), dict(prompt.bar_controls)) for prompt in request.tracks]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("scale", "D dorian", {"pitch_mask": {"scale": "dorian", "root": 2}}),
        ("scale", "f# minor pentatonic", {"pitch_mask": {"scale": "minor_pentatonic", "root": 6}}),
        ("scale", "Cb minor", {"pitch_mask": {"scale": "natural_minor", "root": 11}}),
        ("scale", "blues", {"pitch_mask": {"scale": "blues", "root": 0}}),
        ("scale", "A_harmonic_minor", {"pitch_mask": {"scale": "harmonic_minor", "root": 9}}),
        ("pitches", "38,36", {"pitch_mask": {"pitches": [36, 38]}}),
        ("pitches", "60-62, 40", {"pitch_mask": {"pitches": [40, 60, 61, 62]}}),
        ("pitches", "C, Eb,g", {"pitch_mask": {"pitch_classes": [0, 3, 7]}}),
        ("pitches", "F#,Cb", {"pitch_mask": {"pitch_classes": [6, 11]}}),
        ("pitch-shape", "normal:60,7.5", {"pitch_mask": {"shape": {"type": "normal", "mean": 60.0, "std": 7.5}}}),
        ("pitch-shape", "uniform:48,72", {"pitch_mask": {"shape": {"type": "uniform", "min": 48.0, "max": 72.0}}}),
        ("rhythm", "eighth", {"rhythm_mask": {"grid": {"unit": "eighth", "strength": 1.0}}}),
        ("rhythm", "sixteenth:0.8", {"rhythm_mask": {"grid": {"unit": "sixteenth", "strength": 0.8}}}),
        (
            "rhythm",
            "0,9x2",
            {"rhythm_mask": {"positions": [{"pos": 0, "polyphony": 1}, {"pos": 9, "polyphony": 2}]}},
        ),
        (
            "rhythm",
            "0,12,exact",
            {
                "rhythm_mask": {
                    "positions": [{"pos": 0, "polyphony": 1}, {"pos": 12, "polyphony": 1}],
                    "microtiming": False,
                }
            },
        ),
        ("remix", "0.5", {"remix": {"amount": 0.5, "mode": "pitch"}}),
        ("remix", "1,full", {"remix": {"amount": 1.0, "mode": "full"}}),
        ("time-signature", "3/4", {"time_signature": "3/4"}),
    ],
)  # fmt: skip
def test_values_are_written_as_musicians_write_them(name: str, text: str, expected: dict[str, Any]) -> None:
    assert read_option(name, text) == NoteOption(name=name, track=None, bars=None, controls=expected)
    assert read_option(name, f"3:{text}") == NoteOption(name=name, track=3, bars=None, controls=expected)
    assert read_bar_option(f"4-6:{name}={text}") == NoteOption(name=name, track=None, bars=(4, 6), controls=expected)
    assert read_bar_option(f"2:4:{name}={text}") == NoteOption(name=name, track=2, bars=(4, 4), controls=expected)
    assert all(not read_control(control, value)[1] for control, value in expected.items() if control in NOTE_CONTROLS)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("scale", "H major", "is not a scale"),
        ("scale", "D dorain", "Scales: chromatic, major"),
        ("scale", "", "is not a scale"),
        ("pitches", "128", "are not pitches"),
        ("pitches", "72-60", "are not pitches"),
        ("pitches", "C4", "are not pitches"),
        ("pitches", "C,60", "are not pitches"),
        ("rhythm", "exact", "is not a rhythm"),
        ("rhythm", "0,exact,9", "is not a rhythm"),
        ("pitch-shape", "normal", "is not a shape"),
        ("pitch-shape", "normal:6.0.0,1", "is not a shape"),
        ("rhythm", "third", "is not a rhythm"),
        ("rhythm", "eighth:1.5", "is not a rhythm"),
        ("rhythm", "eighth:1.5.1", "is not a rhythm"),
        ("rhythm", "0;9", "is not a rhythm"),
        ("remix", "0", "is not a remix"),
        ("remix", "1.5", "is not a remix"),
        ("remix", ".", "is not a remix"),
        ("remix", "0.5,rhythm", "is not a remix"),
        ("time-signature", "three", "is not a time signature"),
    ],
)
def test_what_cannot_be_read_says_what_to_write(name: str, text: str, message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        read_option(name, text)
    given: dict[str, Any] = {name.replace("-", "_"): (text,)}
    assert any(problem.startswith(f"--{name}: ") for problem in read_flags(flags(**given)).problems)


@pytest.mark.parametrize(
    "text", ["rhythm=quarter", "6:", "6:swing=1", "6-:rhythm=quarter", "7-6:rhythm=quarter", "6:remix=9"]
)
def test_a_faulty_bar_control_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        read_bar_option(text)


def test_options_for_tracks_and_bars_replace_those_for_all() -> None:
    found = controls(
        scale=("D dorian", "1:E phrygian"),
        pitch_shape=("normal:60,6",),
        remix=("0.5", "0:0.25,full"),
        bar_controls=("3:pitches=60", "1:2-3:remix=1"),
    )
    shape = {"type": "normal", "mean": 60.0, "std": 6.0}
    first, second = found
    assert first[0] == {
        "pitch_mask": {"scale": "dorian", "root": 2, "shape": shape}, "remix": {"amount": 0.25, "mode": "full"},
    }  # fmt: skip
    assert second[0] == {
        "pitch_mask": {"scale": "phrygian", "root": 4, "shape": shape}, "remix": {"amount": 0.5, "mode": "pitch"},
    }  # fmt: skip
    assert first[1] == {3: {"pitch_mask": {"pitches": [60]}}}
    whole = {"amount": 1.0, "mode": "pitch"}
    assert second[1] == {2: {"remix": whole}, 3: {"pitch_mask": {"pitches": [60]}, "remix": whole}}
    assert controls_of([read_option("scale", "major"), read_option("pitches", "1:60")], 1, [2]) == (
        {"pitch_mask": {"pitches": [60]}},
        {},
    )


def test_contradictions_are_named() -> None:
    def told(*options: NoteOption) -> list[str]:
        return list(contradictions(options))

    assert told(read_option("scale", "major"), read_option("scale", "1:minor")) == []
    assert told(read_option("scale", "major"), read_option("scale", "minor")) == [
        "--scale is given twice. Keep one of them."
    ]
    assert told(read_option("scale", "1:major"), read_option("pitches", "1:60")) == [
        "--pitches and scale both say which pitches may be written for track 1. Keep one of them."
    ]
    twice = told(read_bar_option("6:remix=1"), read_bar_option("6:remix=0.5"))
    assert twice == ["--bar-control: remix is given twice. Keep one of them."]


def test_tracks_and_bars_that_are_not_written_are_named() -> None:
    asked = read_flags(flags(scale=("2:major",), bar_controls=("5:remix=1", "0:2-4:remix=1")))
    with pytest.raises(RequestValidationError) as refused:
        request_of(asked, SCORE, engine().encoder, {}, engine().trained)
    assert [problem for problem in refused.value.problems if problem.startswith("--")] == [
        "--scale 2:…: track 2 is not written, only tracks 0, 1.",
        "--bar-control 5-5:…: not all of these bars are written.",
        "--bar-control 2-4:…: not all of these bars are written.",
    ]


def test_names_of_notes_replace_a_scale_and_the_other_way_round() -> None:
    names, scale = read_option("pitches", "1:C,E"), read_option("scale", "1:D dorian")
    of_all = {"scale": read_option("scale", "major"), "pitches": read_option("pitches", "60")}
    for option, expected in ((names, {"pitch_classes": [0, 4]}), (scale, {"scale": "dorian", "root": 2})):
        for other in of_all.values():
            assert controls_of([other, option], 1, [2]) == ({"pitch_mask": expected}, {})


def test_controls_of_the_piece_are_checked_with_the_request() -> None:
    def request(preset: str, **given: Any) -> Any:
        asked = read_flags(attrs.evolve(flags(), **given))
        return request_of(asked, SCORE, engine(preset).encoder, {}, engine(preset).trained)

    off = request("expressive", no_velocity=True, no_microtiming=True)
    assert off.controls == {"velocity": False, "microtiming": False}
    (genre,) = list(engine("prism").encoder.to_config()["genre_groups"])[:1]
    assert request("prism", genre=genre).controls == {"genre": genre}
    with pytest.raises(RequestValidationError, match=r"controls\.velocity: the encoder cannot switch it"):
        request("yellow", no_velocity=True)
    with pytest.raises(RequestValidationError, match=r"controls\.genre: the encoder has no genres"):
        request("yellow", genre="rock")
