"""Killed, concurrent and failing builds: what is on disk afterwards is whole, and the same as ever."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from midigpt_core.corpus.build import build
from midigpt_core.corpus.cache import owned
from midigpt_core.corpus.format import SIDECAR_NAME
from midigpt_core.corpus.isolation import DEFAULT_PARSER
from support.corpus import GIGAMIDI, digests, process_context, start_build, write_shards

SHARDS = 3
SLOW = "support.parsers:slow"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_shards(tmp_path_factory.mktemp("shards"), SHARDS, 150)


@pytest.fixture(scope="module")
def reference(paths: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], float]:
    """The files of an undisturbed build, and the time that it takes in a process of its own."""
    cache = tmp_path_factory.mktemp("reference")
    start_build(paths, cache / "warm-up", SLOW, workers=1)[1].recv()
    started = time.monotonic()
    process, pipe = start_build(paths, cache / "timed", SLOW, workers=1)
    _, expected = pipe.recv()
    process.join()
    return expected, time.monotonic() - started


def kill_and_resume(cache: Path, paths: list[str], reference: tuple[list[str], float], moments: list[float]) -> None:
    """kill -9 a build at each moment (shares of its usual time), then build again."""
    expected, seconds = reference
    done = 0
    for moment in moments:
        process, _ = start_build(paths, cache, SLOW, workers=1)
        time.sleep(moment * seconds)
        process.kill()
        process.join()
        committed = len(list(cache.glob(f"corpus/*/{SIDECAR_NAME}")))
        assert committed >= done, "a finished shard was made again"
        done = committed
    report = build(GIGAMIDI, paths, cache=cache, parser=SLOW, workers=1)
    # What stood is used: at most the shard that was being written is made again.
    assert report.built == SHARDS - done
    assert digests(report) == expected
    assert not list(cache.rglob(".midigpt-tmp-*"))


@pytest.mark.parametrize("point", range(20))
def test_a_killed_build_resumes(point: int, cache: Path, paths: list[str], reference: tuple[list[str], float]) -> None:
    kill_and_resume(cache, paths, reference, [(point + 0.5) / 20])


@pytest.mark.slow
@pytest.mark.parametrize("point", range(200))
def test_a_build_killed_again_and_again_resumes(
    point: int, cache: Path, paths: list[str], reference: tuple[list[str], float]
) -> None:
    share = (point + 0.5) / 200
    kill_and_resume(cache, paths, reference, [share, share / 2, share / 3])


def test_four_processes_build_each_shard_once(
    cache: Path, paths: list[str], reference: tuple[list[str], float]
) -> None:
    started = [start_build(paths, cache, SLOW, workers=1) for _ in range(4)]
    results = [pipe.recv() for _, pipe in started]
    for process, _ in started:
        process.join()
    assert sum(built for built, _ in results) == SHARDS
    assert all(found == reference[0] for _, found in results)


def test_one_cache_for_threads_of_one_process(
    tmp_path: Path, cache: Path, reference: tuple[list[str], float], paths: list[str]
) -> None:
    # Files of equal content are one corpus, made once, and counted as often as they are named.
    copies = [tmp_path / f"{n}.parquet" for n in range(4)]
    for copy in copies:
        copy.write_bytes(Path(paths[0]).read_bytes())
    report = build(GIGAMIDI, [str(copy) for copy in copies], cache=cache, parser=SLOW, workers=4)
    assert report.built == 1
    assert set(digests(report)) == {reference[0][0]}
    assert report.rows == 4 * 150


def test_a_dead_owners_lock_is_free(cache: Path, paths: list[str], reference: tuple[list[str], float]) -> None:
    first = build(GIGAMIDI, paths, cache=cache, parser=SLOW)
    folder = first.shards[0].parent
    context = process_context()
    ours, theirs = context.Pipe(duplex=False)
    owner = context.Process(target=own_for_ever, args=(theirs, folder))
    owner.start()
    theirs.close()
    assert ours.recv() == "owned"
    (folder / SIDECAR_NAME).unlink()
    builder, pipe = start_build(paths, cache, SLOW, workers=1)
    assert not pipe.poll(0.5), "the build went on although another process owns the shard"
    owner.kill()
    assert pipe.recv() == (1, reference[0])
    builder.join()
    owner.join()


def own_for_ever(pipe: Any, folder: Path) -> None:
    with owned(folder, waiting=lambda: None):
        pipe.send("owned")
        time.sleep(600)


def test_a_killed_build_leaves_no_process_behind(cache: Path, paths: list[str]) -> None:
    process, _ = start_build(paths, cache, "support.parsers:slow", workers=2)
    assert process.pid is not None
    deadline = time.monotonic() + 10
    while not (children := descendants(process.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "the parser's processes outlived their build"
        time.sleep(0.05)


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def test_a_file_size_limit_ends_in_one_line(tmp_path: Path, cache: Path) -> None:
    # More than a batch of MIDI takes, less than a column of so many notes.
    paths = write_shards(tmp_path, 1, 4000)
    process, pipe = start_build(paths, cache, DEFAULT_PARSER, workers=1, file_size=128 << 10)
    message = pipe.recv()
    process.join()
    assert "cannot be written" in message
    assert "File too large" in message
    assert "Raise the limit on the size of files ('ulimit -f' shows it), or choose another folder." in message
    assert message.endswith(" MIDIGPT_CACHE names the folder of the cache.")
    assert not list(cache.glob(f"corpus/*/{SIDECAR_NAME}"))
    assert not list(cache.rglob(".midigpt-tmp-*"))


def test_a_low_limit_on_open_files_is_raised(tmp_path: Path, cache: Path) -> None:
    """A column is a file, a shard some thirty of them, and there is a shard for each processor."""
    paths = write_shards(tmp_path, 4, 60)
    process, pipe = start_build(paths, cache, SLOW, workers=4, open_files=64)
    built, _ = pipe.recv()
    process.join()
    assert built == 4
