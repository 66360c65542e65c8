"""Lists the tracks of a piece, and what ``midigpt generate`` can be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midigpt_core.cli.tables import table
from midigpt_core.score.programs import PROGRAM_NAMES
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midigpt_core.contracts import Encoder
    from midigpt_core.plugins import Registry
    from midigpt_core.score import Score, Track

WHAT_TO_ASK = """\
Ask for one or several of these:
  --track T --bars A-B           fill in bars A to B of track T or, with --autoregressive, write them left to right
  --new-track program=P|drums    write a new track, in all bars or in --bars A-B
  --continue N                   add N bars at the end, in all tracks with notes or in --track T
  --attribute [T:]NAME=LEVEL     with any of these: set an attribute control of the music
Add --checkpoint BUNDLE and -o FOLDER. Tracks and bars are counted from 0."""
#: The most ranges of bars that a row shows, and the most changes of time signature that are listed.
_MOST_RANGES = 6
_MOST_SIGNATURES = 8
_PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def pitch_name(pitch: int) -> str:
    """``"C4"`` for 60."""
    return f"{_PITCHES[pitch % 12]}{pitch // 12 - 1}"


def _spelled_signatures(runs: Sequence[dict[str, Any]]) -> str:
    """``"4/4 (bars 0 to 7), 3/4 (bars 8 to 9)"``; the bars are left out if there is one signature."""
    if len(runs) == 1:
        return str(runs[0]["signature"])
    listed = [f"{run['signature']} (bars {run['first_bar']} to {run['last_bar']})" for run in runs[:_MOST_SIGNATURES]]
    return ", ".join(listed) + (f" and {len(runs) - len(listed)} more changes" if len(runs) > len(listed) else "")


def listing(score: Score, encoder: Encoder | None, names: Sequence[str] = ()) -> dict[str, Any]:
    """The tracks of a piece, its bars and tempo, and the attribute controls of ``encoder`` with their levels, as plain
    values. ``names``: of the tracks, as the file gives them; empty: unknown."""
    from midigpt_core.score.editing import num_bars

    content: dict[str, Any] = {
        "bars": num_bars(score),
        "beats_per_minute": round(60e6 / score.tempo, 3) if score.tempo else None,
        "signatures": _signatures(score),
        "tracks": [_row(track, names[track.index] if names else "") for track in score.tracks],
    }
    if encoder is not None:
        content["attributes"] = [
            {
                "name": attribute.name,
                "of": attribute.level,
                "levels": attribute.size,
                "tracks": [kind for kind, drum in (("melodic", False), ("drum", True)) if attribute.applies_to(drum)],
            }
            for attribute in encoder.attributes
            if attribute.size
        ]
    return content


def _signatures(score: Score) -> list[dict[str, Any]]:
    """Time signatures in order: from which bar on, and to which."""
    runs: list[dict[str, Any]] = []
    columns = score.columns
    for bar, (numerator, denominator) in enumerate(
        zip(columns.bar_numerator.tolist(), columns.bar_denominator.tolist(), strict=True)
    ):
        signature = f"{numerator}/{denominator}"
        if runs and runs[-1]["signature"] == signature:
            runs[-1]["last_bar"] = bar
        else:
            runs.append({"signature": signature, "first_bar": bar, "last_bar": bar})
    return runs


def _row(track: Track, name: str) -> dict[str, Any]:
    columns = track.score.columns
    bars = columns.cell_bar[track.cell_run].tolist()
    pitches = track.notes.pitch
    return {
        "track": track.index,
        "track_name": name,
        "program": track.program,
        "name": PROGRAM_NAMES[track.program],
        "drum": track.is_drum,
        "bars_with_notes": bars,
        "notes": len(track.notes),
        "pitches": [int(pitches.min()), int(pitches.max())] if len(pitches) else None,
    }


def presets(score: Score, plugins: Registry) -> list[dict[str, Any]]:
    """The encoder presets, and what each cannot write of a piece: bars in a time signature that it does not have."""
    from midigpt_core.contracts import EncoderContext
    from midigpt_core.plugins.building import build

    columns = score.columns
    found = []
    for item in plugins.provided("encoder"):
        for preset in getattr(item.spec, "presets", ()):
            encoder: Encoder = build(item.ref({"config": preset}), EncoderContext())
            accepted = encoder.accepts_signatures(columns.bar_numerator, columns.bar_denominator)
            refused = [] if accepted is None else [bar for bar, fits in enumerate(accepted) if not fits]
            found.append({"preset": preset, "can_write": not refused, "refused_bars": refused})
    return found


def _preset_lines(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    from midigpt_core.inference.validation import bar_ranges

    able = [one["preset"] for one in found if one["can_write"]]
    yield f"Encoder presets that can write it: {', '.join(able) or 'none'}."
    for one in found:
        if one["refused_bars"]:
            bars = bar_ranges(one["refused_bars"], _MOST_RANGES)
            yield f"{one['preset']} does not have the time signature of bars {bars}."


def listing_lines(name: str, content: dict[str, Any]) -> Iterator[str]:
    """A listing as text."""
    from midigpt_core.inference.validation import bar_ranges

    bars = f"bars 0 to {content['bars'] - 1}" if content["bars"] else "no bars"
    tempo = f", {content['beats_per_minute']:.4g} beats per minute" if content["beats_per_minute"] else ""
    count = len(content["tracks"])
    yield f"{name}: {count} track{'' if count == 1 else 's'}, {bars}{tempo}."
    if content["signatures"]:
        yield f"Time signatures: {_spelled_signatures(content['signatures'])}."
    tracks = [
        (
            str(row["track"]),
            printable(row["track_name"], 24) or "-",
            "drums" if row["drum"] else f"{row['program']} {row['name']}",
            bar_ranges(row["bars_with_notes"], _MOST_RANGES) or "none",
            row["notes"],
            f"{pitch_name(row['pitches'][0])} to {pitch_name(row['pitches'][1])}" if row["pitches"] else "-",
        )
        for row in content["tracks"]
    ]
    if "presets" in content:
        yield from _preset_lines(content["presets"])
    yield from table(("track", "name", "program", "bars with notes", "notes", "range"), tracks).splitlines()
    yield ""
    yield from WHAT_TO_ASK.splitlines()
    if content.get("attributes"):
        rows = [
            (row["name"], f"0-{row['levels'] - 1}", row["of"], " and ".join(row["tracks"]))
            for row in content["attributes"]
        ]
        yield ""
        yield from table(("attribute", "levels", "of a", "tracks"), rows).splitlines()
