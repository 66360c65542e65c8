"""Preprocessing from the Hub compared with files on the disk, and from a zip compared with the folder that it packs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from typing import TYPE_CHECKING

from bench import corpus
from bench.hub_process import REPO
from bench.measure import Turn, take_turns
from bench.rows import Row, ratio_at_least

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.session import Session

_ROWS, _SHARDS = 20_000, 8
_FILES = 10_000
_REPEATS = 5


def rows(session: Session) -> Iterator[Row]:
    repeats = min(session.repeats, _REPEATS)
    local = corpus.shards("sources", _ROWS, _SHARDS, folder=session.folder)
    folder, packed = _songs(session)
    with _hub(local[0].parent) as address:
        hub = {"HF_ENDPOINT": address}
        measured = take_turns(
            {
                "hub": _preprocess(session, f"hf://datasets/{REPO}/*.parquet", _ROWS, hub),
                "local": _preprocess(session, str(local[0].parent), _ROWS, {}),
                "zip": _preprocess(session, str(packed), _FILES, {}),
                "folder": _preprocess(session, str(folder), _FILES, {}),
            },
            repeats,
        )
    how = "midigpt preprocess, an empty cache, less the same command with a full one; seconds on the clock"
    yield Row.of(
        "preprocess from a stub Hub on the loopback interface",
        "rows/s",
        measured["hub"],
        measured["local"],
        against="the same parquet files on the disk",
        required=ratio_at_least(0.8),
        how=f"{how}; {_ROWS:,} rows in {_SHARDS} shards; huggingface_hub's cache is empty too, and each file's sha256 "
        "is checked",
    )
    yield Row.of(
        f"preprocess {_FILES:,} files in a zip",
        "files/s",
        measured["zip"],
        measured["folder"],
        against="the same files in a folder",
        required=ratio_at_least(0.7),
        how=f"{how}; deflated by zip's default",
    )


def _songs(session: Session) -> tuple[Path, Path]:
    """A folder of MIDI files, and a zip of it."""
    folder = session.folder / f"songs-{corpus.VERSION}-{_FILES}"
    packed = folder.with_suffix(".zip")
    if not packed.exists():
        music = corpus.pieces(session.folder).column("music")
        folder.mkdir(parents=True, exist_ok=True)
        part = packed.with_suffix(".part")
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(_FILES):
                content = music[number % len(music)].as_py()
                (folder / f"{number:05}.mid").write_bytes(content)
                archive.writestr(f"{number:05}.mid", content)
        part.replace(packed)
    return folder, packed


def _preprocess(session: Session, data: str, count: int, environment: dict[str, str]) -> Callable[[], Turn]:
    cache, hub = session.folder / "sources-cache", session.folder / "sources-hub"
    full = os.environ | environment | {"MIDIGPT_CACHE": str(cache), "HF_HOME": str(hub), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "midigpt", "preprocess", data]

    def seconds() -> float:
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=full)
        return time.perf_counter() - started

    def turn() -> Turn:
        for used in (cache, hub):
            shutil.rmtree(used, ignore_errors=True)
        cold = seconds()
        return Turn(cold - seconds(), count)

    return turn


@contextlib.contextmanager
def _hub(folder: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.hub_process", str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
