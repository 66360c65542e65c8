"""Scores as JSON in the form of the public package midigpt 0.4.2, whose clients the server answers.

    {"resolution": ticks per quarter (480), "tempo": microseconds per quarter (500000),
     "tracks": [{"instrument": program (0), "track_type": "melodic" or "drum",
                 "bars": [{"ts_numerator": 4, "ts_denominator": 4, "future": false,
                           "notes": [{"pitch", "velocity", "onset_ticks", "duration_ticks", "delta": 0}]}]}]}

In parentheses: what holds where a request leaves the field out. Onsets count from the start of the bar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from midigpt_core.errors import DataError
from midigpt_core.score import Score
from midigpt_core.score.editing import note_table
from midigpt_server.refusals import Refused, a_list, an_object, truth, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.score.editing import NoteTable

_NOTE_KEYS = ("pitch", "velocity", "onset_ticks", "duration_ticks")
_DRUM = "drum"


@frozen(kw_only=True)
class Limits:
    """The largest score that is accepted."""

    tracks: int = 128
    bars: int = 4_096
    notes: int = 200_000


@frozen
class ParsedScore:
    score: Score
    #: (track, bar) flagged ``future``: the model must not see them.
    future: frozenset[tuple[int, int]]
    #: The instruments as they were sent: those outside 0..127 are read as the nearest program.
    instruments: tuple[int, ...]


def parse_score(content: Any, limits: Limits) -> ParsedScore:
    """The score of a request. Raises :class:`Refused`: 400 where a key is missing, else 422; both name the field."""
    values = an_object(content, "score", 400)
    rows, future, instruments, count = [], set(), [], 0
    for index, track in enumerate(a_list(_needed(values, "tracks", "score"), "score.tracks", most=limits.tracks)):
        where = f"score.tracks[{index}]"
        an_object(track, where)
        bars, notes = [], []
        given = a_list(_needed(track, "bars", where), f"{where}.bars", most=limits.bars)
        for number, bar in enumerate(given):
            place = f"{where}.bars[{number}]"
            an_object(bar, place)
            numerator = whole(bar.get("ts_numerator", 4), f"{place}.ts_numerator", 1, 255)
            denominator = whole(bar.get("ts_denominator", 4), f"{place}.ts_denominator", 1, 255)
            bars.append([numerator, denominator, 4 * numerator / denominator])
            if truth(bar.get("future", False)):
                future.add((index, number))
            listed = a_list(bar.get("notes", []), f"{place}.notes", most=limits.notes)
            count += len(listed)
            if count > limits.notes:
                raise Refused(422, f"score: more than {limits.notes:,} notes. Send a part of the piece.")
            notes += [_note(note, number, f"{place}.notes[{n}]") for n, note in enumerate(listed)]
        instruments.append(whole(track.get("instrument", 0), f"{where}.instrument"))
        rows.append(
            {
                "program": min(max(instruments[-1], 0), 127),
                "drum": track.get("track_type", "melodic") == _DRUM,
                "bars": bars,
                "notes": notes,
            }
        )
    if not rows:
        raise Refused(422, "score.tracks is empty. Send at least one track.")
    if len({len(row["bars"]) for row in rows}) > 1 or not rows[0]["bars"]:
        lengths = ", ".join(str(len(row["bars"])) for row in rows[:12])
        raise Refused(422, f"score: the tracks have {lengths} bars. Give every track the same number, at least one.")
    whole_score = {
        "resolution": whole(values.get("resolution", 480), "score.resolution", 1, 32_767),
        "tempo": whole(values.get("tempo", 500_000), "score.tempo", 1, 2**24 - 1),
        "bars": rows[0]["bars"],
        "tracks": rows,
    }
    try:
        return ParsedScore(Score.from_dict(whole_score, "score"), frozenset(future), tuple(instruments))
    except DataError as error:
        raise Refused(422, str(error)) from error


def _note(content: Any, bar: int, where: str) -> list[int]:
    note = an_object(content, where, 400)
    for key in _NOTE_KEYS:
        _needed(note, key, where)
    if unknown := set(note) - {*_NOTE_KEYS, "delta"}:
        raise Refused(400, f"Invalid input: {where} has no field {sorted(unknown)[0][:40]!r}.")
    return [
        bar,
        whole(note["onset_ticks"], f"{where}.onset_ticks", 0),
        # Some programs send notes that end before they begin.
        max(0, whole(note["duration_ticks"], f"{where}.duration_ticks")),
        whole(note["pitch"], f"{where}.pitch", 0, 127),
        whole(note["velocity"], f"{where}.velocity", 0, 127),
        whole(note.get("delta", 0), f"{where}.delta", -32_768, 32_767),
    ]


def _needed(values: dict[str, Any], key: str, where: str) -> Any:
    if key not in values:
        raise Refused(400, f"Invalid input: {where}.{key} is missing.")
    return values[key]


def score_to_json(
    score: Score, future: frozenset[tuple[int, int]] = frozenset(), instruments: Sequence[int] = ()
) -> dict[str, Any]:
    """All tracks and bars, every field written out, in the score's own resolution. ``instruments``: in place of the
    programs of the first tracks."""
    tracks = []
    for track in score.tracks:
        bars: list[dict[str, Any]] = [
            {
                "ts_numerator": bar.numerator,
                "ts_denominator": bar.denominator,
                "future": (track.index, bar.index) in future,
                "notes": [],
            }
            for bar in track.bars
        ]
        instrument = instruments[track.index] if track.index < len(instruments) else track.program
        tracks.append({"instrument": instrument, "track_type": _DRUM if track.is_drum else "melodic", "bars": bars})
    for track_number, bar_number, note in _notes(note_table(score)):
        tracks[track_number]["bars"][bar_number]["notes"].append(note)  # type: ignore[index]
    return {"resolution": score.resolution, "tempo": score.tempo, "tracks": tracks}


def streamed_notes(table: NoteTable) -> list[dict[str, Any]]:
    """The notes of a table as frames of a stream have them."""
    return [
        {
            "track": track,
            "bar": bar,
            "pitch": note["pitch"],
            "onset_ticks": note["onset_ticks"],
            "duration_ticks": note["duration_ticks"],
            "velocity": note["velocity"],
        }
        for track, bar, note in _notes(table)
    ]


def _notes(table: NoteTable) -> list[tuple[int, int, dict[str, int]]]:
    columns = (table.track, table.bar, table.pitch, table.velocity, table.onset, table.duration, table.microtiming)
    names = (*_NOTE_KEYS, "delta")
    return [
        (track, bar, dict(zip(names, note, strict=True)))
        for track, bar, *note in zip(*(column.tolist() for column in columns), strict=True)
    ]
