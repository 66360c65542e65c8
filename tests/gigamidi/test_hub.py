"""Data sets on the Hub, against a stub Hub over HTTP on the loopback interface that refuses, cuts and lies."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import close_session, constants, get_session, hf_hub_download
from midigpt_gigamidi.hub import shards as hub_shards
from midigpt_gigamidi.options import GigamidiOptions
from midigpt_gigamidi.source import build as build_source

from midigpt_core.cli.main import main
from midigpt_core.components import ComponentRef
from midigpt_core.contracts import FetchedShard, SourceContext
from midigpt_core.corpus.build import build, locate
from midigpt_core.corpus.report import info
from midigpt_core.corpus.shared_store import SharedStore
from midigpt_core.errors import DataError
from support.corpus import GIGAMIDI, MIDI, digests, small_rows
from support.stub_hub import TOKEN, StubHub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPO = "Metacreation/GigaMIDI"
ADDRESS = f"hf://datasets/{REPO}/v2.0.0/train/*.parquet"


def parquet(rows: int, seed: int) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"music": pa.array(small_rows(rows, seed), pa.binary())}), stream)
    return stream.getvalue()


FILES = {
    "README.md": b"card",
    **{f"v2.0.0/train/{n:05}.parquet": parquet(30, n) for n in range(3)},
    "v2.0.0/validation/00000.parquet": parquet(10, 9),
}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of its own, no token, no real host."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_INET and address[0] != "127.0.0.1":
            pytest.fail(f"a test wanted to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    with StubHub({REPO: FILES}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def names(*paths: str) -> list[str]:
    return [shard.name for shard in build_source(GigamidiOptions(), SourceContext(paths=paths)).shards()]


def blobs(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "hub" / f"datasets--{REPO.replace('/', '--')}" / "blobs"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def without_downloads() -> ComponentRef:
    return ComponentRef(
        kind="source",
        name="gigamidi",
        target=GIGAMIDI.target,
        options_class="midigpt_gigamidi.options:GigamidiOptions",
        options={"keep_downloads": False},
    )


class TestAddresses:
    def test_a_pattern_a_folder_and_a_file_at_the_commit(self, hub: StubHub) -> None:
        at = f"hf://datasets/{REPO}@{hub.commit(REPO)}"
        train = [f"{at}/v2.0.0/train/{n:05}.parquet" for n in range(3)]
        assert names(ADDRESS) == train
        assert names(f"hf://datasets/{REPO}/v2.0.0/train") == train
        assert names(f"hf://datasets/{REPO}@main/v2.0.0/train/00001.parquet") == [train[1]]
        assert len(names(f"hf://datasets/{REPO}")) == len(names(f"hf://datasets/{REPO}/**")) == 4
        assert names(ADDRESS, f"hf://datasets/{REPO}") == [*train, f"{at}/v2.0.0/validation/00000.parquet"]

    @pytest.mark.parametrize(
        ("address", "expected"),
        [
            ("hf://models/a/b/c.parquet", "is no address of a data set"),
            ("hf://datasets/only", "is no address of a data set"),
            (f"hf://datasets/{REPO}/v3/*.parquet", "has no .parquet file there"),
            (f"hf://datasets/{REPO}@v9/train", "has no revision 'v9'"),
            ("hf://datasets/no/where/x.parquet", "shows no data set 'no/where'"),
        ],
    )
    def test_an_address_that_leads_nowhere_is_named(self, hub: StubHub, address: str, expected: str) -> None:
        with pytest.raises(DataError, match=expected):
            names(address)

    def test_local_files_and_addresses_together(self, hub: StubHub, tmp_path: Path) -> None:
        (tmp_path / "own.parquet").write_bytes(FILES["v2.0.0/validation/00000.parquet"])
        found = names(str(tmp_path / "own.parquet"), ADDRESS)
        assert found[0] == str(tmp_path / "own.parquet")
        assert len(found) == 4


class TestBuilds:
    def test_the_corpus_is_that_of_the_local_files(self, hub: StubHub, tmp_path: Path, cache: Path) -> None:
        for name, content in FILES.items():
            (tmp_path / "local" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "local" / name).write_bytes(content)
        local = build(GIGAMIDI, [str(tmp_path / "local/v2.0.0/train")], cache=cache)
        fetched = build(GIGAMIDI, [ADDRESS], cache=cache)
        assert fetched.built == 3
        assert fetched.counts == local.counts
        assert digests(fetched) == digests(local)
        assert all(hub.commit(REPO) in source for source in info(fetched.shards).sources)

    def test_a_second_build_fetches_nothing(self, hub: StubHub, cache: Path) -> None:
        build(GIGAMIDI, [ADDRESS], cache=cache)
        hub.requests.clear()
        again = build(GIGAMIDI, [ADDRESS], cache=cache)
        assert again.built == 0
        assert again.shards == locate(GIGAMIDI, [ADDRESS], cache=cache)
        assert not [request for request in hub.requests if "/resolve/" in request]

    def test_a_new_commit_builds_only_what_changed(self, hub: StubHub, cache: Path) -> None:
        first = build(GIGAMIDI, [ADDRESS], cache=cache)
        hub.add(REPO, {"v2.0.0/train/00001.parquet": parquet(5, 5)})
        second = build(GIGAMIDI, [ADDRESS], cache=cache)
        assert second.built == 1
        assert [a == b for a, b in zip(first.shards, second.shards, strict=True)] == [True, False, True]
        pinned = ADDRESS.replace(REPO, f"{REPO}@{hub.commits(REPO)[0]}")
        assert build(GIGAMIDI, [pinned], cache=cache).shards == first.shards

    def test_downloads_are_removed_when_they_are_not_kept(self, hub: StubHub, tmp_path: Path, cache: Path) -> None:
        build(GIGAMIDI, [f"hf://datasets/{REPO}/v2.0.0/validation"], cache=cache)
        kept = blobs(tmp_path)
        assert len(kept) == 1
        report = build(without_downloads(), [f"hf://datasets/{REPO}"], cache=cache)
        assert report.built == 3
        assert blobs(tmp_path) == kept

    def test_a_stopped_build_leaves_no_file_that_was_fetched_ahead(
        self, hub: StubHub, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stopped(self: hub_shards.HubShard) -> None:
            self.files.start(self.file).result(30)
            raise KeyboardInterrupt

        monkeypatch.setattr(hub_shards.HubShard, "prefetch", stopped)
        with pytest.raises(KeyboardInterrupt):
            build(without_downloads(), [ADDRESS], cache=cache, workers=1)
        assert not blobs(tmp_path)

    def test_a_file_that_is_still_fetched_when_it_is_forgotten_goes_as_soon_as_it_is_there(
        self, hub: StubHub, tmp_path: Path
    ) -> None:
        hub.seconds = 0.5
        options = GigamidiOptions(keep_downloads=False)
        shard = build_source(options, SourceContext(paths=(ADDRESS,))).shards()[0]
        assert isinstance(shard, hub_shards.HubShard)
        fetched = shard.files.start(shard.file)
        shard.forget()
        fetched.result(30)
        until = time.monotonic() + 10
        while blobs(tmp_path) and time.monotonic() < until:
            time.sleep(0.05)
        assert not blobs(tmp_path)

    def test_the_next_shard_is_fetched_while_this_one_is_parsed(
        self, hub: StubHub, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun: list[str] = []
        start = hub_shards.HubFiles.start

        def recorded(self: hub_shards.HubFiles, file: Any) -> Any:
            begun.append(f"{'parsed' if begun_by_shard.is_set() else 'ahead'} {file.path[-13:-8]}")
            return start(self, file)

        begun_by_shard = threading.Event()
        prefetch, batches = hub_shards.HubShard.prefetch, hub_shards.HubShard.batches

        def ahead(self: hub_shards.HubShard) -> None:
            begun_by_shard.clear()
            prefetch(self)

        def parsed(self: hub_shards.HubShard) -> Any:
            begun_by_shard.set()
            return batches(self)

        monkeypatch.setattr(hub_shards.HubFiles, "start", recorded)
        monkeypatch.setattr(hub_shards.HubShard, "prefetch", ahead)
        monkeypatch.setattr(hub_shards.HubShard, "batches", parsed)
        build(GIGAMIDI, [ADDRESS], cache=cache, workers=1)
        assert begun == ["parsed 00000", "ahead 00001", "parsed 00001", "ahead 00002", "parsed 00002"]
        assert len([request for request in hub.requests if request.startswith("GET") and "/resolve/" in request]) == 3

    def test_two_that_are_parsed_at_a_time_have_two_fetched(
        self, hub: StubHub, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.add(REPO, {"v2.0.0/train/00003.parquet": parquet(4, 3)})
        batches, ahead, both = hub_shards.HubShard.batches, [], threading.Barrier(2)

        def met(self: hub_shards.HubShard) -> Any:
            both.wait(30)
            return batches(self)

        monkeypatch.setattr(hub_shards.HubShard, "batches", met)
        monkeypatch.setattr(hub_shards.HubShard, "prefetch", lambda shard: ahead.append(shard.file.path[-13:-8]))
        assert build(GIGAMIDI, [ADDRESS], cache=cache, workers=2).built == 4
        assert sorted(ahead) == ["00002", "00003"]

    def test_a_shard_that_the_store_has_is_not_fetched(
        self, hub: StubHub, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = SharedStore(str(tmp_path / "store"))
        build(GIGAMIDI, [ADDRESS.replace("*", "00001")], cache=cache, store=store, publish=True)
        ahead: list[str] = []
        monkeypatch.setattr(hub_shards.HubShard, "prefetch", lambda shard: ahead.append(shard.file.path[-13:-8]))
        report = build(GIGAMIDI, [ADDRESS], cache=tmp_path / "other", store=store, workers=1)
        assert (report.built, report.fetched) == (2, 1)
        assert ahead == ["00002"]

    def test_a_shard_of_the_hub_satisfies_the_contract(self, hub: StubHub) -> None:
        (shard, *_) = build_source(GigamidiOptions(), SourceContext(paths=(ADDRESS,))).shards()
        assert isinstance(shard, FetchedShard)
        assert shard.num_rows() is None
        shard = pickle.loads(pickle.dumps(shard))
        assert sum(len(batch.row) for batch in shard.batches()) == 30

    def test_a_build_stops_while_a_file_is_fetched(self, hub: StubHub, cache: Path) -> None:
        hub.seconds = 30.0
        broken = build_source(GigamidiOptions(), SourceContext(paths=(ADDRESS,))).shards()[0]
        batches = broken.batches()
        started = time.monotonic()
        assert len(next(batches).row) == 0
        batches.close()
        assert time.monotonic() - started < 10


class TestRefusals:
    def test_a_gated_data_set_without_access_names_three_steps(self, hub: StubHub, cache: Path) -> None:
        hub.gated = True
        with pytest.raises(DataError) as error:
            build(GIGAMIDI, [ADDRESS], cache=cache)
        said = str(error.value)
        for step in (f"1. accept its terms at {hub.url}/datasets/{REPO}", "2. make a token", "3. log in with"):
            assert step in said
        assert "\n" not in said

    def test_with_a_token_it_is_read(self, hub: StubHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hub.gated = True
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert build(GIGAMIDI, [ADDRESS], cache=cache).built == 3

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_refusal_is_explained(self, hub: StubHub, cache: Path, status: int) -> None:
        hub.file_status = status
        with pytest.raises(DataError, match=r"refuses Metacreation/GigaMIDI with this token|shows no data set"):
            build(GIGAMIDI, [ADDRESS], cache=cache)

    @pytest.mark.parametrize("status", [500, 404])
    def test_an_error_of_the_hub_is_explained(self, hub: StubHub, status: int) -> None:
        hub.status = status
        with pytest.raises(DataError, match=rf"answers {status}|shows no data set"):
            names(ADDRESS)

    def test_a_login_page(self, hub: StubHub) -> None:
        hub.page = b"<html>log in</html>"
        with pytest.raises(DataError, match="does not answer"):
            names(ADDRESS)


class TestBrokenDownloads:
    def test_a_cut_connection_is_resumed(self, hub: StubHub, cache: Path) -> None:
        hub.cuts = 2
        assert build(GIGAMIDI, [ADDRESS], cache=cache, workers=1).built == 3
        assert any(start > 0 for start in hub.ranges)

    def test_a_range_that_the_hub_cannot_give_is_fetched_anew(self, hub: StubHub, cache: Path) -> None:
        hub.cuts, hub.refuse_ranges = 1, True
        assert build(GIGAMIDI, [ADDRESS], cache=cache, workers=1).built == 3

    def test_a_file_of_the_wrong_length_is_named(self, hub: StubHub, cache: Path, tmp_path: Path) -> None:
        hub.lie = lambda content: content[:-7]
        with pytest.raises(DataError, match=r"v2\.0\.0/train/00000\.parquet: .*(should be of size|the copy has)"):
            build(GIGAMIDI, [ADDRESS], cache=cache, workers=1)

    def test_a_file_with_other_bytes_is_named(self, hub: StubHub, cache: Path) -> None:
        hub.lie = lambda content: content[:-9] + bytes(9)
        with pytest.raises(DataError, match="the copy's hash is not the one that the Hub lists"):
            build(GIGAMIDI, [ADDRESS], cache=cache, workers=1)

    def test_a_file_that_was_wrong_once_is_fetched_again(self, hub: StubHub, cache: Path) -> None:
        hub.lie = lambda content: content if hub.files_given > 1 else bytes(len(content))
        assert build(GIGAMIDI, [ADDRESS], cache=cache, workers=1).built == 3

    def test_a_damaged_copy_in_the_cache_is_fetched_again(self, hub: StubHub, cache: Path, tmp_path: Path) -> None:
        build(GIGAMIDI, [ADDRESS], cache=cache / "a")
        for blob in blobs(tmp_path):
            blob.write_bytes(b"x" * blob.stat().st_size)
        assert build(GIGAMIDI, [ADDRESS], cache=cache / "b").built == 3


def test_a_client_that_another_thread_closed_is_a_lost_connection(
    hub: StubHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    def download(*arguments: Any, **options: Any) -> str:
        if not closed:
            closed.append(get_session())
            close_session()
            closed[0].get(hub.url)
        return hf_hub_download(*arguments, **options)

    monkeypatch.setattr(hub_shards, "hf_hub_download", download)
    assert build(GIGAMIDI, [ADDRESS], cache=cache).built == 3
    assert len(closed) == 1


class TestOffline:
    def test_the_cache_is_enough(self, hub: StubHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        online = build(GIGAMIDI, [ADDRESS], cache=cache)
        hub.close()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert build(GIGAMIDI, [ADDRESS], cache=cache).shards == online.shards
        assert build(GIGAMIDI, [ADDRESS], cache=cache / "other").built == 3

    def test_what_the_cache_lacks_is_said(self, hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(DataError, match=r"HF_HUB_OFFLINE is set\. Unset it to fetch"):
            names(ADDRESS)

    def test_a_hub_that_is_gone_leaves_the_cache_with_a_warning(
        self, hub: StubHub, cache: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        build(GIGAMIDI, [ADDRESS], cache=cache)
        hub.close()
        assert build(GIGAMIDI, [ADDRESS], cache=cache).built == 0
        assert f"Using what is known of {REPO} from earlier" in caplog.text

    def test_corpora_are_enough_where_downloads_were_not_kept(
        self, hub: StubHub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        built = build(without_downloads(), [ADDRESS], cache=cache)
        assert blobs(tmp_path) == []
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        again = build(without_downloads(), [ADDRESS], cache=cache)
        assert (again.built, again.shards) == (0, built.shards)
        with pytest.raises(DataError, match=r"HF_HUB_OFFLINE is set\. Unset it to fetch"):
            build(without_downloads(), [ADDRESS], cache=cache / "other")

    def test_what_another_program_fetched_is_used(
        self, hub: StubHub, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in (name for name in FILES if "/train/" in name):
            hf_hub_download(REPO, name, repo_type="dataset", endpoint=hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert build(GIGAMIDI, [ADDRESS], cache=cache).built == 3


def test_git_hashes_of_small_files(hub: StubHub, cache: Path) -> None:
    hub.lfs = False
    assert build(GIGAMIDI, [ADDRESS], cache=cache).built == 3
    content = FILES["README.md"]
    assert hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == hub.content_id(content)


def test_a_run_on_the_hub_records_the_commit(hub: StubHub, tmp_path: Path) -> None:
    music = [file.read_bytes() for file in MIDI[:9]]
    stream = io.BytesIO()
    pq.write_table(pa.table({"music": pa.array(music, pa.binary()), "total_notes": range(9)}), stream)
    hub.add(REPO, {"v2.0.0/test/00000.parquet": stream.getvalue()})
    tiny = {"n_embd": 16, "n_layer": 1, "n_head": 1, "n_positions": 256, "max_seq_len": 256, "max_steps": 1}
    tiny |= {"warmup_steps": 1, "batch_size": 2, "num_bars_choices": [4]}
    (tmp_path / "config.json").write_text(json.dumps({**tiny, "encoder_config_path": "yellow", "precision": "fp32"}))
    data = ("--train-data", f"hf://datasets/{REPO}/v2.0.0/test/*.parquet", "--set", "source.min_notes=2")
    run = ("--config", str(tmp_path / "config.json"), "--output-dir", str(tmp_path / "run"))
    assert main(["train", *run, *data]) == 0
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert provenance["data_sets"] == [f"hf://datasets/{REPO}@{hub.commit(REPO)}"]
    corpus = json.loads((tmp_path / "run" / "corpus.json").read_text())["train"]
    assert corpus["rows"]["min_notes"] == 1
    assert corpus["rows"]["no_notes"] == 1
