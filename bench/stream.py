"""The token stream from a ready corpus: window, augment, mask, encode, pack."""

from __future__ import annotations

import itertools
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

from attrs import evolve

from bench import corpus
from bench.built import notes_per_piece, ready, tracks_per_piece
from bench.measure import Turn, one_thread, take_turns, wall
from bench.memory import held_bytes
from bench.rows import BASELINE, Row, ratio_at_least, ratio_at_most
from bench.twins import Twins
from midigpt_core.data.datasets import batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.built import Ready
    from bench.session import Session
    from midigpt_core.data.blocks import BlockReport
    from midigpt_core.data.stream import StreamSpec, TokenStream

#: The encoder of these rows writes masks, which yellow cannot.
PRESET = "ghost"
_BLOCKS = 20
#: Blocks that two workers make in one turn, after as many that start them up.
_WORKER_BLOCKS = 60
_BASELINE_STEP = 12
_BASELINE_SAMPLES = 60
#: A row of these has a dozen tracks or more.
_MANY_TRACKS = 12
#: Attribute controls of a plugin: one of bars, one of tracks.
_PYTHON_ATTRIBUTES = ("syncopation", "chroma-entropy")
#: Rows of the corpora over which a worker's memory is compared.
_SMALL, _LARGE = 2_000, 20_000
#: Notes per track of a short and of a ten times longer piece, both at the density where it is capped.
_SHORT, _LONG = 4_000, 40_000


def rows(session: Session) -> Iterator[Row]:
    shard = corpus.pieces_path(session.folder)
    data = ready([shard], session.folder, PRESET)
    yield from _against_baseline(session, data, shard)
    yield _with_attributes(session, data)
    yield _by_length(session)
    yield from _on_two_cores(session, data)
    yield _worker_memory(session)


def _against_baseline(session: Session, data: Ready, shard: Path) -> Iterator[Row]:
    many_tracks = data.pieces[tracks_per_piece(data.opened)[data.pieces] >= _MANY_TRACKS]
    encoder = session.preset(PRESET)
    with (
        session.baseline("stream.py", shard, encoder, _BASELINE_STEP, 1, _BASELINE_SAMPLES) as baseline,
        session.baseline("stream.py", shard, encoder, 1, _MANY_TRACKS, _BASELINE_SAMPLES // 4) as baseline_many,
    ):
        measured = take_turns(
            {
                "ours": one_thread(windows(data.stream_spec())),
                "tokens": one_thread(_tokens(data.stream_spec())),
                "baseline": baseline,
                "many": one_thread(windows(data.stream_spec(pieces=many_tracks))),
                "baseline many": baseline_many,
            },
            session.repeats,
        )
    yield Row.of(
        "token stream",
        "windows/s",
        measured["ours"],
        measured.get("baseline"),
        against=BASELINE,
        required=ratio_at_least(400),
        how=f"{PRESET}, defaults of training, documents of {_BLOCKS} blocks at 2048; the baseline's MidiGPTDataset, "
        f"windows of every {_BASELINE_STEP}th piece",
    )
    yield Row.of("token stream, tokens", "tokens/s", measured["tokens"], how="the tokens of those windows")
    yield Row.of(
        f"token stream, pieces of {_MANY_TRACKS} tracks or more",
        "windows/s",
        measured["many"],
        measured.get("baseline many"),
        against=BASELINE,
        required=ratio_at_least(400),
        how=f"as above, over the {len(many_tracks)} such pieces of the bench corpus",
    )


def _with_attributes(session: Session, data: Ready) -> Row:
    """The stream with two attribute controls that plugins compute in Python."""
    plain = data.stream_spec()
    encoder = evolve(plain.encoder, options={**plain.encoder.options, "attributes": list(_PYTHON_ATTRIBUTES)})
    measured = take_turns(
        {"with": one_thread(windows(evolve(plain, encoder=encoder))), "without": one_thread(windows(plain))},
        session.repeats,
    )
    return Row.of(
        "token stream, two attribute controls in Python",
        "windows/s",
        measured["with"],
        measured["without"],
        against="without them",
        required=ratio_at_least(0.5),
        how=f"{PRESET} with {' and '.join(_PYTHON_ATTRIBUTES)}, documents of {_BLOCKS} blocks at 2048",
    )


def _by_length(session: Session) -> Row:
    """The same music per bar in pieces of 250 and of 2,500 bars."""
    by_length = {}
    for name, notes in (("short", _SHORT), ("long", _LONG)):
        path = session.folder / f"length-{corpus.VERSION}-{notes}.parquet"
        if not path.exists():
            corpus.write_parquet(path, corpus.table([corpus.generate(n, 2 * notes, 2) for n in range(40)]))
        by_length[name] = ready([path], session.folder, PRESET)
    measured = take_turns(
        {name: one_thread(_tokens(data.stream_spec())) for name, data in by_length.items()}, session.repeats
    )
    mean = {name: int(notes_per_piece(data.opened).mean()) for name, data in by_length.items()}
    return Row.of(
        "token stream, pieces ten times longer",
        "tokens/s",
        measured["long"],
        measured["short"],
        against="short pieces",
        required=ratio_at_least(0.9),
        how=f"40 pieces of two tracks and {mean['long']:,} notes compared with 40 of "
        f"{mean['short']:,}, as many notes a bar",
    )


def _on_two_cores(session: Session, data: Ready) -> Iterator[Row]:
    spec = data.stream_spec()
    work = _tokens(spec)
    work()
    with Twins(work) as twins:
        measured = take_turns(
            {"two": _workers(spec, 2), "one": _workers(spec, 1), "alone": wall(work), "twins": twins}, session.repeats
        )
    yield Row.of(
        "token stream, two processes",
        "tokens/s",
        measured["twins"],
        measured["alone"],
        against="one process",
        required=ratio_at_least(1.8),
        how="two processes compared with one, nothing uses the blocks; seconds on the clock",
    )
    yield Row.of(
        "token stream, two workers",
        "rows/s",
        measured["two"],
        measured["one"],
        against="one worker",
        how=f"batches of 64 rows from num_workers=2 compared with num_workers=1, {_WORKER_BLOCKS} batches after the "
        "first; seconds on the clock; the process that takes them needs some of the two cores too",
    )


def _worker_memory(session: Session) -> Row:
    held = {}
    for count in (_SMALL, _LARGE):
        data = ready(corpus.shards("one", count, 1, folder=session.folder), session.folder, PRESET)
        # A process of its own: a fork of this one would share what this one holds.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            held[count] = pool.submit(_held_after, data.stream_spec()).result() / 1e6
    return Row(
        name="data worker, memory, a corpus ten times larger",
        unit="MB",
        ours=held[_LARGE],
        theirs=held[_SMALL],
        against=f"{_SMALL:,} pieces",
        required=ratio_at_most(1.1),
        how=f"a process of its own after {_BLOCKS} blocks over {_LARGE:,} pieces, torch included, mapped pages aside",
    )


def _held_after(spec: StreamSpec) -> int:
    """Bytes that this process holds after making some blocks."""
    _tokens(spec)()
    return held_bytes()


def windows(spec: StreamSpec) -> Callable[[], float]:
    stream = spec.open()
    return lambda: float(sum(report.documents for report in _made(stream)))


def _tokens(spec: StreamSpec) -> Callable[[], float]:
    stream = spec.open()
    return lambda: float(sum(report.tokens for report in _made(stream)))


def _made(stream: TokenStream) -> Iterator[BlockReport]:
    """The same blocks in every turn: their pieces' bytes are checked in the round that is not counted."""
    return (stream.block(index).report for index in range(_BLOCKS))


def _workers(spec: StreamSpec, num_workers: int) -> Callable[[], Turn]:
    def turn() -> Turn:
        arriving = batches(spec, batch_size=64, first_row=0, num_workers=num_workers)
        for _ in range(2 * num_workers + 1):  # what the workers prepared while they started
            next(arriving)
        measured = wall(lambda: float(sum(len(batch["row"]) for batch in itertools.islice(arriving, _WORKER_BLOCKS))))
        try:
            return measured()
        finally:
            arriving.close()  # type: ignore[attr-defined]

    return turn
