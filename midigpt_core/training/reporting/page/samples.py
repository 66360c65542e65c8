"""The samples of a run as plain values for the page: notes for the piano roll and the player, and recorded sound."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from midigpt_core import files
from midigpt_core.errors import DataError, readable_name
from midigpt_core.score import Score
from midigpt_core.score.note_times import note_times
from midigpt_core.score.programs import PROGRAM_NAMES
from midigpt_core.score.reading import file_content

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from midigpt_core.score.score import Track

#: The file in the folder of a step that describes its samples: title and cells written (track, bar), by name.
DESCRIPTION = "samples.json"
#: The most steps whose samples a page has, the most samples of a step, and the most notes and tracks of a sample.
MOST_STEPS, _MOST_SAMPLES, _MOST_NOTES, _MOST_TRACKS = 12, 8, 4_000, 16
_MOST_DESCRIBED = 1 << 20
_SOUNDS = {".ogg": "audio/ogg", ".wav": "audio/wav"}
#: The longest title, in characters.
_LONGEST = 200


def chosen_steps(samples: Sequence[tuple[int, Path]]) -> list[tuple[int, Path]]:
    """At most :data:`MOST_STEPS` of the steps, evenly spread, with the first and the last."""
    if len(samples) <= MOST_STEPS:
        return list(samples)
    places = np.linspace(0, len(samples) - 1, MOST_STEPS).round().astype(int)
    return [samples[place] for place in places.tolist()]


def sample_values(samples: Sequence[tuple[int, Path]], problems: list[str]) -> list[dict[str, Any]]:
    """The samples of the steps in their order, without sound. Each that cannot be read is named in ``problems``."""
    return [value for step, folder in samples for value in _of_step(step, folder, problems)]


def add_sound(values: Sequence[dict[str, Any]], samples: Sequence[tuple[int, Path]], room: int) -> int:
    """Add the recorded sound of the samples, those of the last step first, as far as ``room`` characters go.

    Returns how many samples have a recording that did not fit.
    """
    folders = dict(samples)
    left_out = 0
    for value in sorted(values, key=lambda value: -value["step"]):
        for suffix, kind in _SOUNDS.items():
            path = folders[value["step"]] / f"{value['file']}{suffix}"
            try:
                size = path.stat().st_size
                content = files.read_bytes(path, room * 3 // 4) if size * 4 // 3 <= room else None
            except OSError:  # it has no such recording
                continue
            if content is None:
                left_out += 1
                continue
            value["audio"] = f"data:{kind};base64,{base64.b64encode(content).decode()}"
            room -= len(value["audio"])
            break
    return left_out


def _of_step(step: int, folder: Path, problems: list[str]) -> Iterator[dict[str, Any]]:
    described = _described(folder / DESCRIPTION)
    paths = sorted(path for path in folder.glob("*.mid"))
    for path in paths[:_MOST_SAMPLES]:
        where = f"{folder.name}/{readable_name(path.name)}"
        try:
            score = Score.from_bytes(file_content(path), name=where)
        except DataError as error:
            problems.append(f"samples: {error}")
            continue
        if len(score.columns.note_pitch) > _MOST_NOTES or len(score.tracks) > _MOST_TRACKS:
            problems.append(f"samples: {where} has too many notes or tracks for this page.")
            continue
        about = described.get(path.stem)
        yield {
            "step": step,
            "file": path.stem,
            "name": readable_name(path.stem)[:_LONGEST],
            **_music(score, about if isinstance(about, dict) else {}),
        }


def _described(path: Path) -> Mapping[str, Any]:
    """The descriptions of a step's samples; empty for a run of an earlier version, or if they are damaged."""
    try:
        content = json.loads(files.read_bytes(path, _MOST_DESCRIBED))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _music(score: Score, about: Mapping[str, Any]) -> dict[str, Any]:
    title = about.get("title")
    written = _cells(about.get("written"))
    tracks = list(score.tracks)
    return {
        "title": title[:_LONGEST] if isinstance(title, str) else "",
        # Microseconds of a quarter note.
        "tempo": score.tempo,
        "tracks": [_track(track, {bar for index, bar in written if index == track.index}) for track in tracks],
    }


def _cells(written: Any) -> list[tuple[int, int]]:
    """The pairs (track, bar) of a description."""
    pairs = written if isinstance(written, list) else []
    return [
        (pair[0], pair[1])
        for pair in pairs
        if isinstance(pair, list) and len(pair) == 2 and all(type(part) is int for part in pair)
    ]


def _track(track: Track, written: set[int]) -> dict[str, Any]:
    """``bars``: where bars begin, and the end, in quarters. ``notes``: start, duration, pitch, velocity, and whether it
    was written, one after another, in quarters."""
    times = note_times(track)
    notes = track.notes
    columns = (
        times.start.round(3).tolist(),
        times.duration.round(3).tolist(),
        notes.pitch.tolist(),
        notes.velocity.tolist(),
        np.isin(times.bar, list(written)).astype(int).tolist(),
    )
    return {
        "label": "drums" if track.is_drum else PROGRAM_NAMES[track.program],
        "drum": track.is_drum,
        "program": track.program,
        "bars": times.bar_starts.round(3).tolist(),
        "written": sorted(bar for bar in written if 0 <= bar < len(times.bar_starts) - 1),
        "notes": [value for note in zip(*columns, strict=True) for value in note],
    }
