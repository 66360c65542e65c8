"""The bench corpus: the MIDI files of the tests, and generated multitrack pieces with the spread of real ones.

Among real files half have at most 2 tracks and 420 notes, nine in ten at most 4 and 5,000, ninety-nine in a hundred at
most 40 and 16,000. Every piece is a function of its number: anyone gets the same bytes. Made once, kept outside git.

    python -m bench.corpus      # makes it, and prints its spread
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import smf
from midigpt_core.keys import Stage, derive, uniforms
from midigpt_core.score.reading import read_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from midigpt_core.records import Float64Array, Int64Array, UInt8Array

#: Raise with every change in what is made.
VERSION = 3
FOLDER = Path("runs/bench")
MIDI_FILES = Path(__file__).parents[1] / "tests" / "data" / "midi"

#: Generated pieces, and how often each real file stands among them: one row in eleven is real.
GENERATED = 3600
COPIES_OF_REAL = 20

#: Rows of a row group, as the data set's shards are written.
ROW_GROUP = 1000

#: Quantile -> value, geometrically interpolated.
NOTES = {0.0: 20, 0.5: 420, 0.9: 5_000, 0.99: 16_000, 1.0: 30_000}
TRACKS = {0.0: 1, 0.5: 2, 0.9: 4, 0.99: 40, 1.0: 60}
_SEED = 1987
_TICKS_PER_QUARTER = (96, 120, 192, 384, 480, 480, 480, 960)
_SIGNATURES = ((4, 4), (4, 4), (4, 4), (4, 4), (4, 4), (3, 4), (6, 8), (2, 4))
_LENGTHS = (0.25, 0.25, 0.5, 0.5, 0.5, 1.0, 1.0, 2.0)
_SCALE = (0, 2, 4, 5, 7, 9, 11)
_DRUMS = (36, 38, 42, 42, 46, 49, 51)

_SCHEMA = pa.schema(
    [
        ("md5", pa.string()),
        ("music", pa.binary()),
        ("num_tracks", pa.int64()),
        ("total_notes", pa.int64()),
        ("NOMML", pa.list_(pa.int64())),
        ("music_style_scraped", pa.string()),
    ]
)


def pieces_path(folder: Path = FOLDER) -> Path:
    """All pieces, as a shard with the columns of GigaMIDI."""
    path = folder / f"pieces-{VERSION}.parquet"
    if not path.exists():
        write_parquet(path, table(_files()))
    return path


def pieces(folder: Path = FOLDER) -> pa.Table:
    return read(pieces_path(folder))


def read(path: Path) -> pa.Table:
    return pq.read_table(path)


def buffers(rows: pa.Table) -> tuple[UInt8Array, Int64Array]:
    """The MIDI files of a table as bytes and int64[n + 1] offsets."""
    midi = rows.column("music").cast(pa.large_binary()).combine_chunks()
    _, offsets, data = midi.buffers()
    return np.frombuffer(data, np.uint8), np.frombuffer(offsets, np.int64)[: len(midi) + 1]


def shards(name: str, rows: int, num_shards: int, *, hostile: float = 0.0, folder: Path = FOLDER) -> list[Path]:
    """Parquet shards with ``rows`` rows in all: the pieces in turn, a share ``hostile`` of them damaged."""
    paths = [folder / f"{name}-{VERSION}-{rows}" / f"{shard:05}.parquet" for shard in range(num_shards)]
    missing = [path for path in paths if not path.exists()]
    whole = pieces(folder) if missing else None
    for shard, path in enumerate(paths):
        if whole is not None and path in missing:
            numbers = np.arange(shard * rows // num_shards, (shard + 1) * rows // num_shards)
            taken = whole.take(numbers % len(whole))
            write_parquet(path, _with_hostile(taken, numbers, hostile) if hostile else taken)
    return paths


def write_parquet(path: Path, rows: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    # Compressed by snappy, as the data set's.
    pq.write_table(rows, temporary, row_group_size=ROW_GROUP, use_dictionary=False)
    temporary.replace(path)


def _files() -> list[bytes]:
    """The generated pieces, and the real ones evenly among them."""
    real = [path.read_bytes() for path in sorted(MIDI_FILES.glob("*.mid"))] * COPIES_OF_REAL
    notes, tracks = _spread(GENERATED)
    generated = [generate(number, int(notes[number]), int(tracks[number])) for number in range(GENERATED)]
    every = len(generated) // len(real)
    return [file for index, one in enumerate(real) for file in (one, *generated[index * every : (index + 1) * every])]


def table(files: Sequence[bytes]) -> pa.Table:
    """MIDI files as rows of a GigaMIDI shard."""
    counts = [file.count(b"MTrk") for file in files]
    columns = {
        "md5": [hashlib.md5(file, usedforsecurity=False).hexdigest() for file in files],
        "music": list(files),
        "num_tracks": counts,
        "total_notes": _note_counts(files),
        "NOMML": [[-1] * count for count in counts],
        "music_style_scraped": ["Rock%2CPop" if index % 3 == 0 else None for index in range(len(files))],
    }
    return pa.Table.from_pydict(columns, _SCHEMA)


def _note_counts(files: Sequence[bytes]) -> list[int]:
    offsets = np.cumsum([0, *map(len, files)])
    counts: list[int] = np.diff(read_batch(b"".join(files), offsets, 2).columns.note_offsets).tolist()
    return counts


def _spread(count: int) -> tuple[Int64Array, Int64Array]:
    """Notes and tracks of each piece: exactly the quantiles, shuffled; long pieces tend to more tracks."""
    draws = uniforms(derive(derive(_SEED, Stage.MIX), Stage.DRAW, np.arange(count)), 2)
    rank_of_notes = np.argsort(np.argsort(draws[:, 0]))
    rank_of_tracks = np.argsort(np.argsort(0.5 * draws[:, 0] + 0.5 * draws[:, 1]))
    return _quantiles(NOTES, (rank_of_notes + 0.5) / count), _quantiles(TRACKS, (rank_of_tracks + 0.5) / count)


def _quantiles(table: dict[float, int], at: Float64Array) -> Int64Array:
    values: Int64Array = np.exp(np.interp(at, list(table), np.log(list(table.values())))).round().astype(np.int64)
    return values


def generate(number: int, num_notes: int, num_tracks: int) -> bytes:
    """Piece ``number``: at least a note per track, ``num_notes`` in all where that is more."""
    key = derive(_SEED, Stage.DRAW, number)
    choice = uniforms(key, 8)[0]
    ticks_per_quarter = _TICKS_PER_QUARTER[int(choice[0] * len(_TICKS_PER_QUARTER))]
    share = 0.3 + uniforms(derive(key, Stage.PIECE), num_tracks)[0]
    per_track = np.maximum(1, (share / share.sum() * num_notes).round().astype(np.int64))
    signature = _SIGNATURES[int(choice[1] * len(_SIGNATURES))]
    # Long pieces are denser too: 4 to 16 notes a bar in the fullest track.
    density = min(16.0, 4.0 + per_track.max() / 300)
    quarters = max(4.0, per_track.max() / density * 4)
    tracks = [
        _track(
            derive(key, Stage.WINDOW, index),
            index,
            int(count),
            quarters=quarters,
            ticks_per_quarter=ticks_per_quarter,
            running_status=bool(choice[4] < 0.6),
        )
        for index, count in enumerate(per_track)
    ]
    tempo = int(350_000 + choice[2] * 500_000)
    signatures = [(0, *signature)]
    if choice[3] < 0.15:
        bar = ticks_per_quarter * 4 * signature[0] // signature[1]
        signatures.append((bar * 8, 4, 4))
    return smf.join([smf.conductor(signatures, tempo), *tracks], ticks_per_quarter)


def _track(
    key: NDArray[np.uint64], index: int, count: int, *, quarters: float, ticks_per_quarter: int, running_status: bool
) -> bytes:
    kind = uniforms(derive(key, Stage.OPTIONS), 6)[0]
    is_drum = index % 4 == 3 or (index == 0 and kind[0] < 0.15)
    channel = 9 if is_drum else (index % 15) + (index % 15 >= 9)
    draws = uniforms(derive(key, Stage.AUGMENT), 5 * count)[0].reshape(5, count)
    # Onsets on sixteenths, in half of the tracks played a little early or late; chords where slots repeat.
    slot = np.sort((draws[0] * quarters * 4).astype(np.int64))
    jitter = (draws[1] - 0.5) * (0.12 if kind[1] < 0.5 else 0.0)
    onset = np.maximum(0, ((slot / 4 + jitter) * ticks_per_quarter).astype(np.int64))
    length = np.asarray(_LENGTHS)[(draws[2] * len(_LENGTHS)).astype(np.int64)]
    end = onset + np.maximum(1, (length * 0.95 * ticks_per_quarter).astype(np.int64))
    step = (draws[3] * (len(_DRUMS) if is_drum else 14)).astype(np.int64)
    base = 36 + 12 * int(kind[2] * 3) + int(kind[5] * 12)
    pitch = np.asarray(_DRUMS)[step] if is_drum else base + 12 * (step // 7) + np.asarray(_SCALE)[step % 7]
    velocity = (48 + draws[4] * 79).astype(np.int64)
    note_off = smf.NOTE_ON if kind[3] < 0.5 else smf.NOTE_OFF
    parts = [
        (0, smf.PROGRAM | channel, int(kind[4] * 128), 0),
        (0, smf.CONTROLLER | channel, 7, 100),
        (0, smf.CONTROLLER | channel, 10, 64),
        (end, note_off | channel, pitch, 0),
        (onset, smf.NOTE_ON | channel, pitch, velocity),
    ]
    # Curves of pitch bend or a controller in a third of the tracks, three events a note: real files hold 10 to 15 bytes
    # a note.
    if kind[0] > 0.65:
        moment = (onset[:, None] + ticks_per_quarter // 16 * np.arange(3)).ravel()
        value = (np.repeat(draws[1], 3) * 127).astype(np.int64)
        parts.append((moment, (smf.PITCH_BEND if kind[1] < 0.5 else smf.CONTROLLER) | channel, 64, value))
    return smf.track(smf.Events.join(parts), f"track {index + 1}".encode(), running_status=running_status)


def _with_hostile(rows: pa.Table, numbers: Int64Array, share: float) -> pa.Table:
    """The same rows, every 1 / ``share``-th damaged, in turn: cut off, noise in place of events, a giant count."""
    every = round(1 / share)
    files = rows.column("music").to_pylist()
    for index in np.flatnonzero(numbers % every == every // 2).tolist():
        files[index] = _damaged(files[index], int(numbers[index]) // every)
    return rows.set_column(rows.schema.get_field_index("music"), "music", pa.array(files, pa.binary()))


def _damaged(file: bytes, number: int) -> bytes:
    match number % 3:
        case 0:
            return file[: len(file) // 2]
        case 1:
            noise = (uniforms(derive(_SEED, Stage.MASK, number), max(1, len(file) - 40))[0] * 256).astype(np.uint8)
            return b"".join((file[:40], noise))
        case _:
            return file[:22] + b"\xff\xff\xff\x7f" * 8 + file[22:]


def main() -> None:
    data, offsets = buffers(pieces())
    print(f"{len(offsets) - 1} pieces, {len(data) / 1e6:.1f} MB, mean {np.diff(offsets).mean() / 1e3:.1f} kB a piece")
    notes, tracks = _spread(GENERATED)
    for name, values in (("notes", notes), ("tracks", tracks)):
        print(f"{name} of the generated: p50, p90, p99 {np.quantile(values, [0.5, 0.9, 0.99]).round().astype(int)}")


if __name__ == "__main__":
    main()
