"""Writes the seeds of the fuzzing targets from tests/data and the presets: FOLDER/<target>/<name> for seeds.py FOLDER.

Needs nothing but Python. settings_input.h, corpus_input.h, decode.cpp, generation.cpp and table_grammar.cpp have the
layouts of the inputs.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
PRESETS = ROOT / "plugins" / "midigpt_encoder" / "presets"
#: Larger files teach a fuzzer nothing and slow it down.
MOST_BYTES = 4096
MOST_TRACKS = 8
MOST_BARS = 16
MOST_NOTES = 40
MOST_TOKENS = 800

Seeds = Iterator[tuple[str, bytes]]


def goldens(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / "goldens" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def midi_files() -> Seeds:
    for index, row in enumerate(goldens("smf_edge")):
        yield f"edge{index:03}", base64.b64decode(row["smf_base64"])
    for path in sorted((DATA / "midi").glob("*.mid")):
        yield path.stem, path.read_bytes()[:MOST_BYTES]


def event(wait: int, *content: int) -> bytes:
    """An event that comes `wait` ticks after the one before."""
    ticks = bytes([wait]) if wait < 0x80 else bytes([wait >> 7 | 0x80, wait & 0x7F])
    return ticks + bytes(content)


def played(channel: int, pitch: int, wait: int, duration: int) -> bytes:
    return event(wait, 0x90 | channel, pitch, 80) + event(duration, 0x90 | channel, pitch, 0)


def chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack(">I", len(content)) + content


def busy_files() -> Seeds:
    """Files with everything in them that splicing looks at. What is changed in each hangs on all of its bytes."""
    busy = b"".join(
        [
            event(0, 0xFF, 0x58, 4, 4, 2, 24, 8),
            event(0, 0xFF, 0x51, 3, *(400_000).to_bytes(3, "big")),
            event(0, 0xC0, 5),
            played(0, 60, 0, 480),
            played(0, 60, 0, 2000),
            event(0, 0xC0, 7),
            played(0, 60, 10, 480),
            event(5, 0xFF, 0x58, 4, 3, 2, 24, 8),
            played(9, 36, 0, 10),
            event(0, 0x90, 64, 80),
        ]
    )
    for number in range(128):
        chunks = [chunk(b"MTrk", busy + played(1, number, 100, 700)), chunk(b"MTrk", busy)]
        yield f"busy{number:03}", chunk(b"MThd", struct.pack(">HHH", 1, 2, 96)) + b"".join(chunks)


def splices() -> Seeds:
    yield from midi_files()
    yield from busy_files()


def i32(values: Iterable[int]) -> bytes:
    values = list(values)
    return struct.pack(f"<{len(values)}i", *values)


def counted(entries: Iterable[bytes]) -> bytes:
    entries = list(entries)
    return bytes([len(entries)]) + b"".join(entries)


class Table:
    """Names of the native tables, in their order, read from the headers."""

    def __init__(self, header: str, pattern: str) -> None:
        self.rows = re.findall(pattern, (ROOT / "csrc" / "vocab" / header).read_text(encoding="utf-8"), re.MULTILINE)

    def index(self, name: str) -> int:
        return next(row for row, spellings in enumerate(self.rows) if name in spellings)


TYPES = Table("token_types.h", r'^  X\(\d+, (\w+), "(\w*)", "(\w*)"\)')
CONTROLS = Table("attribute_controls.h", r'^    \{Control::(\w+), "(\w+)", Level')
CONTROL_DEFAULTS = re.findall(
    r'"(\w+)", Level::(\w+), TrackKind::(\w+)',
    (ROOT / "csrc" / "vocab" / "attribute_controls.h").read_text(encoding="utf-8"),
)


def control(entry: dict[str, Any]) -> bytes:
    defaults = {name: (level.lower(), kind.lower()) for name, level, kind in CONTROL_DEFAULTS}
    level, kind = defaults[entry["name"]]
    params = entry.get("params", {})
    level_number = ("track", "bar").index(params.get("level", level))
    kind_number = ("melodic", "drum", "both").index(params.get("track_type", kind))
    mode_number = ("", "min", "max").index(params.get("mode", ""))
    return bytes([CONTROLS.index(entry["name"]), level_number + 2 * kind_number + 6 * mode_number])


def settings(config: dict[str, Any]) -> bytes:
    flags = ("emit_delta_tokens", "supports_infill", "supports_mask_bar_token", "velocity_sticky")
    flags += ("switchable_velocity", "switchable_microtiming", "signed_deltas")
    values = {"velocity_sticky": True, "signed_deltas": config.get("emit_delta_tokens") == "signed"} | config
    bits = sum(bool(values.get(name)) << bit for bit, name in enumerate(flags))
    numbers = [
        config.get("resolution", 480),
        config.get("decode_resolution", 480),
        *config.get("pitch_range", (0, 127)),
    ]
    numbers += [config.get("velocity_levels", 32), config.get("note_duration_max_beats", 8)]
    numbers += [len(config.get("genre_groups", ()))]
    signatures = [i32(map(int, text.split("/"))) for text in config.get("time_signatures", ())]
    domains = [
        bytes([TYPES.index(domain["type"])]) + i32([domain["domain_size"]])
        for domain in config.get("token_domains", ())
    ]
    return b"".join(
        [
            bytes([bits]),
            i32(map(int, numbers)),
            counted(signatures),
            counted(
                counted(i32([program]) for program in group) for group in config.get("instrument_merge_groups", ())
            ),
            counted(i32([bars]) for bars in config.get("num_bars_map", ())),
            counted(map(control, config.get("attribute_controls", ()))),
            counted(domains),
            b"\1",
        ]
    )


def configurations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(PRESETS.glob("*.json")):
        preset = json.loads(path.read_text(encoding="utf-8"))
        yield path.stem, preset
        yield f"{path.stem}-signed", preset | {"emit_delta_tokens": "signed"}
    for row in goldens("synthetic"):
        yield f"synthetic{row['seed']}", row["config"]


def encoder_configs() -> Seeds:
    for name, config in configurations():
        yield name, settings(config)


def bars(rows: Iterable[tuple[int, int, float]]) -> bytes:
    return counted(bytes([min(numerator, 255), min(denominator, 255)]) for numerator, denominator, _ in rows)


def notes(rows: list[list[int]]) -> bytes:
    parts = [struct.pack("<H", len(rows))]
    before = 0
    for bar, onset, duration, pitch, velocity, delta in rows:
        step, before = bar - before, bar
        parts.append(struct.pack("<BHHBBh", step, onset & 0xFFFF, min(duration, 0xFFFF), pitch, velocity, delta))
    return b"".join(parts)


def score(content: dict[str, Any]) -> bytes:
    """A corpus of one piece: its first tracks, bars and notes."""
    own_bars = any("bars" in track for track in content["tracks"])
    tracks = []
    for track in content["tracks"][:MOST_TRACKS]:
        kept = [note for note in track["notes"] if note[0] < MOST_BARS][:MOST_NOTES]
        head = struct.pack("<BBb", track["program"], track["drum"], -1)
        rows = track.get("bars", content.get("bars"))[:MOST_BARS] if own_bars else None
        tracks.append(head + (b"" if rows is None else bars(rows)) + notes(kept))
    shared = b"" if own_bars else bars(content.get("bars", [])[:MOST_BARS])
    return b"\0" + struct.pack("<HBB", content["resolution"], own_bars, 0) + shared + counted(tracks)


def windows(content: dict[str, Any], *, infill: bool) -> bytes:
    """All tracks of a score as one window, as it is; or with the second bar of the first track to be filled in."""
    tracks = min(len(content["tracks"]), MOST_TRACKS)
    own = [track["bars"] for track in content["tracks"] if "bars" in track]
    num_bars = min(max(map(len, own or [content.get("bars", ())])), MOST_BARS)
    cells = bytearray(tracks * -(-num_bars // 2))
    if infill and cells:
        cells[0] = 0x10
    head = bytes([4, 1, tracks, num_bars, 0, 0, num_bars, *range(1, tracks + 1)])
    return head + cells + struct.pack("<bhBbbbbbBh", 0, 0, 0, 0, 1, 1, -1, -1, 0, 0)


def encodings() -> Seeds:
    for row in goldens("synthetic"):
        for index, case in enumerate(row["cases"][:1]):
            parts = [settings(row["config"]), score(case["score"]), windows(case["score"], infill=index % 2 == 0)]
            yield f"synthetic{row['seed']}", b"".join(parts)
    presets = [config for name, config in configurations() if not name.startswith("synthetic")]
    for index, row in enumerate(goldens("scores")):
        content = row["score"]
        parts = [settings(presets[index % len(presets)]), score(content), windows(content, infill=index % 2 == 0)]
        yield Path(row["file"]).stem, b"".join(parts)


def generations() -> Seeds:
    """The documents of :func:`encodings`: with the bars to be filled in asked for, with all, in their place, and with
    controls."""
    for index, (name, content) in enumerate(encodings()):
        limits = i32([(0, 500)[index % 2], (0, 6)[index // 2 % 2], (0, 2)[index // 4 % 2]])
        choices = struct.pack("<200H", *((17 * index + 40503 * choice) & 0xFFFF for choice in range(200)))
        for way, flags in (("filled-in", 0), ("in-place", 7), ("controlled", 23)):
            yield f"{name}-{way}", content + bytes([flags]) + limits + bytes(3) + choices


def decodings() -> Seeds:
    for row in goldens("synthetic"):
        for case in row["cases"][:2]:
            for name in ("tokens", "damaged_tokens"):
                if name in case:
                    yield f"synthetic{row['seed']}-{name}", settings(row["config"]) + tokens(case[name])
    presets = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in PRESETS.glob("*.json")}
    for row in goldens("tokens"):
        if row["case"] == 0 and "tokens" in row:
            yield (
                f"{row['encoder']}-{row['file']}-{row['mode']}",
                settings(presets[row["encoder"]]) + tokens(row["tokens"]),
            )


def tokens(ids: list[int]) -> bytes:
    return b"\0" + struct.pack(f"<{len(ids[:MOST_TOKENS])}H", *ids[:MOST_TOKENS])


def token_class(amounts: list[int], then: int, **options: Any) -> bytes:
    """A class of table_grammar.cpp; classes are bits, a register is 1 or 2, and 13 is no limit."""
    values = {"since": 0, "ends": 0, "order": 0, "part": 0, "limit": 0, "limits": (13, 13, 13), "gate": 0, "gates": 7}
    values |= options
    head = struct.pack(f"<B{len(amounts)}HHHBBB", len(amounts) - 1, *amounts, then, values["since"], values["ends"],
                       values["order"], values["part"])  # fmt: skip
    return head + bytes([values["limit"], *values["limits"], values["gate"], values["gates"]])


def tables() -> Seeds:
    """REMI, and steps with a length before each note; in tracks, as one run of bars, and with bars to fill in."""
    onset, step, note, length = 1, 2, 3, 4
    remi = [
        token_class([0, 1, 2, 3], 2, order=1, part=onset, limit=1, limits=(2, 3, 4)),
        token_class([0, 0, 0], 4, since=1, order=1, part=note, gate=2, gates=3),
        token_class([0, 0], 8),
        token_class([1, 2, 4], 3, ends=1, part=length),
    ]
    steps = [
        token_class([1, 2, 3], 3, part=step, limit=1, limits=(3, 4, 6)),
        token_class([1, 2, 4], 4, part=length),
        token_class([0, 0, 0], 7, since=1, ends=1, order=2, part=note),
    ]
    for name, classes, first in (("remi", remi, 1), ("steps", steps, 7)):
        for flags in range(8):
            head = bytes([len(classes) - 1]) + b"".join(classes) + struct.pack("<HB", first, flags) + b"\0"
            shape = b"\1\2" if flags & 2 else b"\2"
            for limits in range(6):
                numbers = struct.pack("<HBB", (0, 70)[limits % 2], limits, limits % 4)
                choices = bytes((17 * choice + 31 * limits) & 0xFF for choice in range(60))
                cells = bytes([1, 3, 13, 9, 1, 33])[: 6 if flags & 2 else 3]
                yield f"{name}-{flags}-{limits}", head + shape + cells + numbers + b"\0" + choices


SEEDS = {
    "reader": midi_files,
    "splice": splices,
    "differential": midi_files,
    "encoder_config": encoder_configs,
    "encode_batch": encodings,
    "decode": decodings,
    "round_trip": encodings,
    "generation": generations,
    "table_grammar": tables,
}


def main() -> None:
    for target, seeds in SEEDS.items():
        folder = Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in seeds():
            (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
