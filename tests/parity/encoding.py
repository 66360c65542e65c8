"""Random music through midigpt-core and the public package midigpt 0.4.2: ``make parity`` prints how much agrees.

Random pieces of four bars go through the four presets and through random configurations, in both programs, from MIDI
bytes to tokens and from tokens to scores. Configurations with a corrected control must be refused by the package.
It is run as a black box by its own interpreter.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen
from midigpt_encoder import _encoder
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.data_files import load_preset, preset_names
from midigpt_encoder.encoder import MidigptEncoder

from midigpt_core.encoding.encode_one import encode_part, part_of
from midigpt_core.errors import EncodingError
from midigpt_core.score import Score

if TYPE_CHECKING:
    from collections.abc import Sequence

BASELINE_SIDE = Path(__file__).with_name("baseline_encoding.py")
SIGNATURES = ("4/4", "3/4", "6/8", "7/8", "2/2")
#: Tension is a slot whose value is not that of the package (docs/encoder-specification.md, E.2, 12).
LEFT_OUT = {"tension", "tension_drum"}
CORRECTED = {"silence_proportion_corrected", "pitch_class_count", "nomml_fine"}


@frozen
class Case:
    what: str
    config: dict[str, Any]
    files: tuple[Path, ...]
    #: Whether the package has to refuse the configuration.
    refused: bool = False


def piece(draw: np.random.Generator) -> Score:
    """One to four tracks with notes in the last of four bars, so that a reader finds four bars."""
    bars = []
    for name in draw.choice(SIGNATURES, 4):
        numerator, denominator = map(int, name.split("/"))
        bars.append([numerator, denominator, 4 * numerator / denominator])
    tracks = []
    for _ in range(int(draw.integers(1, 5))):
        notes = []
        for bar, (*_, length) in enumerate(bars):
            for _ in range(int(draw.integers(bar == 3, 9))):
                onset = int(draw.integers(0, int(length * 480)))
                onset -= int(draw.choice([0, onset % 40, onset % 240]))
                duration = int(draw.choice([30, 120, 240, 480, 961]))
                notes.append([bar, onset, duration, int(draw.integers(0, 128)), int(draw.integers(1, 128)), 0])
        notes.sort()
        tracks.append({"program": int(draw.integers(0, 128)), "drum": bool(draw.random() < 0.3), "notes": notes})
    return Score.from_dict({"resolution": 480, "tempo": 500000, "bars": bars, "tracks": tracks})


def configuration(draw: np.random.Generator) -> dict[str, Any]:
    controls = [
        {
            "name": info["name"],
            "params": ({"level": level} if info["takes_parameters"] else {}) | ({"mode": mode} if mode else {}),
        }
        for info in _encoder.attribute_controls()
        if info["name"] not in LEFT_OUT | CORRECTED
        for level in info["levels"]
        for mode in (("min", "max") if info["needs_mode"] else ("",))
    ]
    resolution = int(draw.choice([4, 12, 24]))
    return {
        "resolution": resolution,
        "decode_resolution": resolution * int(draw.choice([1, 20, 40])),
        "velocity_levels": int(draw.choice([2, 8, 32, 127, 128])),
        "pitch_range": [[0, 127], [36, 50]][int(draw.integers(2))],
        "note_duration_max_beats": int(draw.choice([1, 8])),
        "time_signatures": list(SIGNATURES),
        "instrument_merge_groups": [[], [[0, 1, 2], [9, 8]]][int(draw.integers(2))],
        "num_bars_map": [4],
        "attribute_controls": [
            controls[i] for i in draw.choice(len(controls), int(draw.integers(0, 6)), replace=False)
        ],
        **{
            name: bool(draw.random() < 0.5)
            for name in ("emit_delta_tokens", "supports_infill", "velocity_sticky", "switchable_velocity")
        },
    }


def cases(folder: Path, configurations: int, pieces: int) -> list[Case]:
    draw = np.random.default_rng(2026)

    def files(name: str) -> tuple[Path, ...]:
        place = folder / name
        place.mkdir()
        paths = tuple(place / f"{number}.mid" for number in range(pieces))
        for path in paths:
            piece(draw).to_midi(path)
        return paths

    listed = [Case(name, load_preset(name), files(name)) for name in preset_names()]
    listed += [Case("random", configuration(draw), files(f"random{index}")) for index in range(configurations)]
    plain = configuration(draw) | {"attribute_controls": []}
    listed += [Case(name, plain | {"attribute_controls": [{"name": name}]}, (), refused=True) for name in CORRECTED]
    return [*listed, Case("signed deltas", plain | {"emit_delta_tokens": "signed"}, (), refused=True)]


def ask_baseline(python: Path, listed: Sequence[Case], folder: Path) -> list[dict[str, Any]]:
    job, answers = folder / "job.json", folder / "answers.json"
    wanted = [{"config": case.config, "files": [str(path) for path in case.files]} for case in listed]
    job.write_text(json.dumps({"cases": wanted, "answers": str(answers)}), encoding="utf-8")
    subprocess.run([python, BASELINE_SIDE, job], check=True)
    content: list[dict[str, Any]] = json.loads(answers.read_text(encoding="utf-8"))
    return content


def differences(case: Case, answer: dict[str, Any]) -> list[str]:
    """What the two programs do not agree in."""
    encoder = MidigptEncoder(EncoderConfig.from_mapping(case.config))
    if case.refused or "refused" in answer:
        return [] if case.refused and "refused" in answer else [f"{case.what}: {answer}"]
    found = [] if answer["vocab_size"] == encoder.vocab_size else [f"{case.what}: another vocabulary"]
    for path, theirs, decoded in zip(case.files, answer["tokens"], answer["decoded"], strict=True):
        score = Score.from_midi(path)
        try:
            ours = encode_part(encoder, score, part_of(score))
        except EncodingError:
            ours = None
        if theirs != (None if ours is None else ours.tolist()):
            found.append(f"{path}: other tokens")
        elif ours is not None and music(encoder.decode(ours)) != music_of_baseline(decoded):
            found.append(f"{path}: decoded to other music")
    return found


def music(score: Score) -> list[Any]:
    """Resolution, and per track program, kind and bars: time signature and notes (onset, duration, pitch, velocity,
    microtiming)."""
    tracks = [
        (
            track.program,
            track.is_drum,
            [(bar.numerator, bar.denominator, list(bar.notes.rows())) for bar in track.bars],
        )
        for track in score.tracks
    ]
    return [score.resolution, tracks]


def music_of_baseline(score: dict[str, Any]) -> list[Any]:
    fields = ("onset_ticks", "duration_ticks", "pitch", "velocity", "delta")
    tracks = [
        (
            track["instrument"],
            track["track_type"] == "drum",
            [
                (
                    bar["ts_numerator"],
                    bar["ts_denominator"],
                    [tuple(note[name] for name in fields) for note in bar["notes"]],
                )
                for bar in track["bars"]
            ],
        )
        for track in score["tracks"]
    ]
    return [score["resolution"], tracks]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--baseline", type=Path, default=Path(".venv-baseline/bin/python"))
    parser.add_argument("--configurations", type=int, default=200)
    parser.add_argument("--pieces", type=int, default=20, help="of each preset and configuration")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        listed = cases(Path(folder), options.configurations, options.pieces)
        wrong = []
        summary: dict[str, list[int]] = {}
        for case, answer in zip(listed, ask_baseline(options.baseline, listed, Path(folder)), strict=True):
            found = differences(case, answer)
            wrong += found
            counts = summary.setdefault("refused by the package" if case.refused else case.what, [0, 0])
            counts[0] += max(1, len(case.files)) - len(found)
            counts[1] += max(1, len(case.files))
    for what, (agree, of) in summary.items():
        sys.stdout.write(f"{what:24} {agree} of {of}\n")
    sys.stdout.writelines(f"{line}\n" for line in wrong)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
