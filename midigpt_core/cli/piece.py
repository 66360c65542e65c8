"""Lists the tracks of a piece, and what ``midigpt generate`` can be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midigpt_core.cli.tables import table
from midigpt_core.score.programs import PROGRAM_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midigpt_core.contracts import Encoder
    from midigpt_core.score import Score, Track

WHAT_TO_ASK = """\
Ask for one or several of these:
  --track T --bars A-B           fill in bars A to B of track T or, with --autoregressive, write them left to right
  --new-track program=P|drums    write a new track, in all bars or in --bars A-B
  --continue N                   add N bars at the end, in all tracks or in --track T
  --attribute [T:]NAME=LEVEL     with any of these: set an attribute control of the music
Add --checkpoint BUNDLE and -o FOLDER. Tracks and bars are counted from 0."""
#: The most ranges of bars that a row shows.
_MOST_RANGES = 6


def listing(score: Score, encoder: Encoder | None) -> dict[str, Any]:
    """The tracks of a piece and the attribute controls of ``encoder`` with their levels, as plain values."""
    from midigpt_core.score.editing import num_bars

    content: dict[str, Any] = {
        "bars": num_bars(score),
        "tracks": [_row(track) for track in score.tracks],
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


def _row(track: Track) -> dict[str, Any]:
    bars = track.score.columns.cell_bar[track.cell_run].tolist()
    return {
        "track": track.index,
        "program": track.program,
        "name": PROGRAM_NAMES[track.program],
        "drum": track.is_drum,
        "bars_with_notes": bars,
        "notes": len(track.notes),
    }


def listing_lines(name: str, content: dict[str, Any]) -> Iterator[str]:
    """A listing as text."""
    from midigpt_core.inference.validation import bar_ranges

    bars = f"bars 0 to {content['bars'] - 1}" if content["bars"] else "no bars"
    yield f"{name}: {len(content['tracks'])} tracks, {bars}."
    rows = [
        (
            str(row["track"]),
            "drums" if row["drum"] else f"{row['program']} {row['name']}",
            bar_ranges(row["bars_with_notes"], _MOST_RANGES) or "none",
            row["notes"],
        )
        for row in content["tracks"]
    ]
    yield from table(("track", "program", "bars with notes", "notes"), rows).splitlines()
    yield ""
    yield from WHAT_TO_ASK.splitlines()
    if content.get("attributes"):
        rows = [
            (row["name"], f"0-{row['levels'] - 1}", row["of"], " and ".join(row["tracks"]))
            for row in content["attributes"]
        ]
        yield ""
        yield from table(("attribute", "levels", "of a", "tracks"), rows).splitlines()
