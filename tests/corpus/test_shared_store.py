"""A store that machines share: copies are whole or not used, and every machine ends up with the same bytes."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from midigpt_core import files
from midigpt_core.cli.main import main
from midigpt_core.corpus import shared_store
from midigpt_core.corpus.build import build, locate
from midigpt_core.corpus.cache import FileHashes
from midigpt_core.corpus.format import SIDECAR_NAME
from midigpt_core.corpus.report import verify
from midigpt_core.corpus.shared_store import SharedStore
from midigpt_core.corpus.similar import KEYS_NAME, corpus_keys
from midigpt_core.corpus.store import open_corpus
from midigpt_core.errors import CorpusError
from support.corpus import GIGAMIDI, digests, process_context, small_rows, write_shard, write_shards
from support.object_store import object_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midigpt_core.corpus.build import BuildReport


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with object_store() as address:
        yield address


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SharedStore:
    """A new store of each kind."""
    if request.param == "s3":
        address = request.getfixturevalue("s3")
        return SharedStore(address.replace("/shared", f"/{tmp_path.name}"))
    return SharedStore(str(tmp_path / "store"))


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return write_shards(tmp_path / "data", 2, 40)


def objects(store: SharedStore) -> dict[str, bytes]:
    """Every object of a store by its path."""
    system, base = fs.FileSystem.from_uri(store.address)
    found = system.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
    return {info.path: system.open_input_stream(info.path).read() for info in found if info.is_file}


def overwrite(store: SharedStore, path: str, content: bytes) -> None:
    system, _ = fs.FileSystem.from_uri(store.address)
    with system.open_output_stream(path) as stream:
        stream.write(content)


def sidecars(report: BuildReport) -> list[bytes]:
    return [shard.with_name(SIDECAR_NAME).read_bytes() for shard in report.shards]


def test_every_machine_gets_the_bytes_of_the_one_that_built(
    tmp_path: Path, store: SharedStore, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = build(GIGAMIDI, paths, cache=tmp_path / "alone")
    first = build(GIGAMIDI, paths, cache=tmp_path / "first", store=store, publish=True)
    assert (first.built, first.fetched) == (2, 0)
    monkeypatch.setattr("midigpt_core.corpus.build.IsolatedParser", None)
    other = build(GIGAMIDI, paths, cache=tmp_path / "other", store=store)
    assert (other.built, other.fetched) == (0, 2)
    assert digests(other) == digests(first) == digests(alone)
    assert sidecars(other) == sidecars(first) == sidecars(alone)
    assert not verify(other.shards).damaged
    assert other.counts == alone.counts
    again = build(GIGAMIDI, paths, cache=tmp_path / "other", store=store)
    assert (again.built, again.fetched, again.shards) == (0, 0, other.shards)


def test_keys_come_with_a_corpus_or_are_computed(tmp_path: Path, store: SharedStore, paths: list[str]) -> None:
    first = build(GIGAMIDI, paths[:1], cache=tmp_path / "first", store=store, publish=True)
    content = first.shards[0].with_name(KEYS_NAME).read_bytes()
    other = build(GIGAMIDI, paths[:1], cache=tmp_path / "other", store=store)
    assert other.shards[0].with_name(KEYS_NAME).read_bytes() == content
    (stored,) = (path for path in objects(store) if path.endswith(KEYS_NAME))
    for number, damaged in enumerate((content[:-1], b"", content[:-1] + b"?")):
        overwrite(store, stored, damaged)
        (shard,) = build(GIGAMIDI, paths[:1], cache=tmp_path / f"copy{number}", store=store).shards
        corpus_keys(open_corpus([shard]))
        assert shard.with_name(KEYS_NAME).read_bytes() == content


def test_large_shards_have_a_file_for_each_column(
    tmp_path: Path, store: SharedStore, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midigpt_core.corpus.writer.SMALL_BYTES", 0)
    first = build(GIGAMIDI, paths, cache=tmp_path / "first", store=store, publish=True)
    other = build(GIGAMIDI, paths, cache=tmp_path / "other", store=store)
    assert other.fetched == 2
    assert (digests(other), sidecars(other)) == (digests(first), sidecars(first))
    assert len(list(other.shards[0].parent.iterdir())) > 10


def test_a_corpus_that_was_there_before_the_store_is_published(
    tmp_path: Path, store: SharedStore, paths: list[str]
) -> None:
    build(GIGAMIDI, paths, cache=tmp_path / "first")
    assert build(GIGAMIDI, paths, cache=tmp_path / "first", store=store, publish=True).built == 0
    assert build(GIGAMIDI, paths, cache=tmp_path / "other", store=store).fetched == 2


def test_reading_changes_nothing_in_the_store(tmp_path: Path, store: SharedStore, paths: list[str]) -> None:
    build(GIGAMIDI, paths[:1], cache=tmp_path / "first", store=store, publish=True)
    before = objects(store)
    other = build(GIGAMIDI, paths[:1], cache=tmp_path / "other", store=store)
    assert other.fetched == 1
    assert objects(store) == before


@pytest.mark.parametrize("damage", ["flipped", "cut", "removed", "sidecar cut", "sidecar of another file"])
def test_a_damaged_copy_is_not_used_and_is_replaced(
    tmp_path: Path, store: SharedStore, paths: list[str], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = build(GIGAMIDI, paths[:1], cache=tmp_path / "first", store=store, publish=True)
    (data,) = (path for path in objects(store) if path.endswith("pieces.arrow"))
    (sidecar,) = (path for path in objects(store) if path.endswith(SIDECAR_NAME))
    content = bytearray(objects(store)[data])
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        overwrite(store, data, bytes(content))
    elif damage == "cut":
        overwrite(store, data, bytes(content[:-1]))
    elif damage == "removed":
        fs.FileSystem.from_uri(store.address)[0].delete_file(data)
    elif damage == "sidecar cut":
        overwrite(store, sidecar, objects(store)[sidecar][:-9])
    else:
        outside = first.shards[0].with_name(SIDECAR_NAME).read_bytes().replace(b"pieces.arrow", b"../../../out")
        body = outside.partition(b"\n")[0]
        overwrite(store, sidecar, body + b"\n" + hashlib.sha256(body).hexdigest().encode() + b"\n")
    other = build(GIGAMIDI, paths[:1], cache=tmp_path / "other", store=store)
    assert (other.built, other.fetched) == (1, 0)
    assert "It is not used." in caplog.text
    assert "secret" not in caplog.text
    assert digests(other) == digests(first)
    assert not list(tmp_path.rglob("out"))
    build(GIGAMIDI, paths[:1], cache=tmp_path / "writer", store=store, publish=True)
    assert build(GIGAMIDI, paths[:1], cache=tmp_path / "third", store=store).fetched == 1


def test_without_the_sidecar_there_is_no_corpus(tmp_path: Path, store: SharedStore, paths: list[str]) -> None:
    """What a machine leaves that dies while it writes."""
    first = build(GIGAMIDI, paths[:1], cache=tmp_path / "first", store=store, publish=True)
    key = first.shards[0].parent.name
    assert store.sidecar(key) is not None
    (sidecar,) = (path for path in objects(store) if path.endswith(SIDECAR_NAME))
    fs.FileSystem.from_uri(store.address)[0].delete_file(sidecar)
    assert store.sidecar(key) is None
    assert build(GIGAMIDI, paths[:1], cache=tmp_path / "other", store=store).built == 1


def _die_after_the_first_block(paths: list[str], cache: Path, address: str) -> None:
    whole = SharedStore._blocks

    def blocks(self: SharedStore, name: str) -> Iterator[bytes]:
        if not name.endswith("pieces.arrow"):
            yield from whole(self, name)
            return
        yield next(whole(self, name))[:1000]
        os.kill(os.getpid(), signal.SIGKILL)

    SharedStore._blocks = blocks  # type: ignore[method-assign]
    build(GIGAMIDI, paths, cache=cache, store=SharedStore(address))


def test_a_process_killed_while_it_copies_leaves_no_corpus(
    tmp_path: Path, store: SharedStore, paths: list[str]
) -> None:
    build(GIGAMIDI, paths[:1], cache=tmp_path / "first", store=store, publish=True)
    cache = tmp_path / "other"
    process = process_context().Process(target=_die_after_the_first_block, args=(paths[:1], cache, store.address))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    (folder,) = (cache / "corpus").iterdir()
    assert [path.stat().st_size for path in folder.iterdir()] in ([0], [1000])
    after = build(GIGAMIDI, paths[:1], cache=cache, store=store)
    assert after.fetched == 1
    assert {path.name for path in folder.iterdir()} == {"pieces.arrow", SIDECAR_NAME, KEYS_NAME}


def _fetched(pipe: Any, paths: list[str], cache: Path, address: str) -> None:
    report = build(GIGAMIDI, paths, cache=cache, store=SharedStore(address))
    pipe.send((report.built, report.fetched, digests(report)))


def test_processes_of_a_machine_copy_a_shard_once(tmp_path: Path, store: SharedStore, paths: list[str]) -> None:
    first = build(GIGAMIDI, paths, cache=tmp_path / "first", store=store, publish=True)
    context = process_context()
    pipes, processes = [], []
    for _ in range(3):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_fetched, args=(theirs, paths, tmp_path / "node", store.address))
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    results = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join(60)
    assert sum(built for built, _, _ in results) == 0
    assert sum(fetched for _, fetched, _ in results) == len(paths)
    assert {tuple(found) for _, _, found in results} == {tuple(digests(first))}


def test_source_files_are_hashed_once_for_all_machines(
    tmp_path: Path, store: SharedStore, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build(GIGAMIDI, paths, cache=tmp_path / "first", store=store, publish=True)
    monkeypatch.setattr(files, "blake3_of", None)
    assert build(GIGAMIDI, paths, cache=tmp_path / "other", store=store).fetched == 2
    monkeypatch.undo()
    # Another file at the same path has another hash.
    write_shard(Path(paths[0]), small_rows(41, 7))
    assert build(GIGAMIDI, paths, cache=tmp_path / "third", store=store).built == 1


def test_a_file_of_many_columns_is_hashed_once_for_all_machines_too(
    tmp_path: Path, store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its schema is more than the store keeps of a file."""
    path = write_shard(tmp_path / "wide.parquet", small_rows(2))
    table = pq.read_table(path)
    for number in range(1500):
        table = table.append_column(f"a_column_with_a_rather_long_name_{number}", pa.nulls(2, pa.int8()))
    pq.write_table(table, path)
    build(GIGAMIDI, [str(path)], cache=tmp_path / "first", store=store, publish=True)
    monkeypatch.setattr(files, "blake3_of", None)
    assert build(GIGAMIDI, [str(path)], cache=tmp_path / "other", store=store).fetched == 1


def test_hashes_can_be_sent_to_another_process(tmp_path: Path, store: SharedStore, paths: list[str]) -> None:
    hashes = FileHashes(tmp_path / "cache", shared=store)
    expected = hashes(Path(paths[0]))
    copied = pickle.loads(pickle.dumps(hashes))
    assert copied(Path(paths[0])) == expected == files.blake3_of(paths[0])


def test_commands_use_the_store_of_the_environment(
    tmp_path: Path, store: SharedStore, paths: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("MIDIGPT_STORE", store.address)
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "first"))
    preprocess = ["preprocess", "--data", *paths, "--encoder-config", "yellow", "--min-bars", "1"]
    assert main(preprocess) == 0
    assert "2 shards, 2 built now, in" in capsys.readouterr().out
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "second"))
    assert main(preprocess) == 0
    assert "2 shards, 0 built now, 2 copied from the store, in" in capsys.readouterr().out
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "third"))
    assert main(["corpus", "info", "--data", *paths]) == 0
    assert len(locate(GIGAMIDI, paths)) == 2
    assert len(list((tmp_path / "third" / "corpus").iterdir())) == 2


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("nosuch://bucket/x", "nosuch://bucket/x: cannot be used (Unrecognized filesystem type"),
        ("s3://bucket/x?nosuch=1", "s3://bucket/x: cannot be used (Unexpected query parameter"),
        (
            "s3://me:secret@bucket/x?scheme=http&region=us-east-1&endpoint_override=127.0.0.1:1",
            "s3://bucket/x: cannot be written (When initiating multiple part upload",
        ),
        ("{file}/x", "cannot be written (Not a directory)"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_line(
    paths: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any, address: str, says: str
) -> None:
    cache = Path(paths[0]).parents[1] / "cache"
    monkeypatch.setenv("MIDIGPT_CACHE", str(cache))
    monkeypatch.setenv("MIDIGPT_STORE", address.format(file=paths[0]))
    assert main(["preprocess", "--data", *paths, "--encoder-config", "yellow"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert error.count("\n") == 1
    assert says in error
    assert "secret" not in error
    assert not (cache / "corpus").exists()


def test_a_bucket_that_does_not_exist_is_named_before_anything_is_parsed(
    tmp_path: Path, s3: str, paths: list[str]
) -> None:
    nowhere = SharedStore(s3.replace("music/shared", "nosuch/shared").replace("allow_bucket_creation=true&", ""))
    with pytest.raises(CorpusError, match=r"s3://nosuch/shared.*cannot be written .*MIDIGPT_STORE names the store"):
        build(GIGAMIDI, paths, cache=tmp_path / "cache", store=nowhere, publish=True)
    assert not (tmp_path / "cache" / "corpus").exists()


def test_a_folder_may_be_written_as_a_uri(tmp_path: Path, paths: list[str]) -> None:
    store = SharedStore(f"file://{tmp_path}/store")
    first = build(GIGAMIDI, paths[:1], cache=tmp_path / "first", store=store, publish=True)
    assert store.sidecar(first.shards[0].parent.name) is not None
    assert SharedStore(str(tmp_path / "store")).sidecar(first.shards[0].parent.name) is not None


def test_a_cache_cannot_be_a_store(monkeypatch: pytest.MonkeyPatch, paths: list[str]) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", "s3://bucket/cache")
    with pytest.raises(CorpusError, match="Name the store in MIDIGPT_STORE"):
        build(GIGAMIDI, paths)


def test_nothing_is_kept_of_a_store_that_returns_something_else(
    tmp_path: Path, store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedStore, "_read", lambda *_: b"another")
    with pytest.raises(CorpusError, match="does not return what was written"):
        store.require_usable()


def test_a_small_object_that_is_too_large_is_refused(tmp_path: Path, store: SharedStore, monkeypatch: Any) -> None:
    monkeypatch.setattr(shared_store, "_MOST_HASH_BYTES", 3)
    store.remember("a.json", b"1234")
    with pytest.raises(CorpusError, match=r"hashes/a\.json: is larger than the limit of 3 bytes"):
        store.recall("a.json")
