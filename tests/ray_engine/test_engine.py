"""Corpora from a Ray cluster are byte for byte those of one machine, also when nodes are killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import midigpt_ray.engine as ray_engine
import pytest

from midigpt_core.cli.main import main
from midigpt_core.corpus import engines
from midigpt_core.corpus.build import build
from midigpt_core.corpus.engines import find_engine
from midigpt_core.corpus.format import SIDECAR_NAME
from midigpt_core.corpus.report import verify
from midigpt_core.corpus.shared_store import SharedStore
from midigpt_core.errors import PluginError
from support.corpus import GIGAMIDI, digests, small_rows, write_shard, write_shards
from support.object_store import object_store
from support.ray_cluster import add_node

if TYPE_CHECKING:
    from pathlib import Path

    from ray.cluster_utils import Cluster

    from midigpt_core.corpus.build import BuildProgress, BuildReport


def sidecars(report: BuildReport) -> list[bytes]:
    return [shard.with_name(SIDECAR_NAME).read_bytes() for shard in report.shards]


def require_the_same(found: BuildReport, alone: BuildReport) -> None:
    assert found.counts == alone.counts
    assert found.examples == alone.examples
    assert digests(found) == digests(alone)
    assert sidecars(found) == sidecars(alone)
    assert not verify(found.shards).damaged


def build_with_kills(cluster: Cluster, folder: Path, *, shards: int, rows: int, kills: int) -> None:
    """Build on two nodes; after each of the first ``kills`` shards one is killed and, but for the last, replaced."""
    paths = write_shards(folder / "data", shards, rows)
    paths.append(str(write_shard(folder / "data" / "odd.parquet", [b"not MIDI", None, *small_rows(20)])))
    alone = build(GIGAMIDI, paths, cache=folder / "alone")
    killed = []

    def kill(state: BuildProgress) -> None:
        if state.shards > len(killed) and len(killed) < kills:
            victim = sorted(cluster.worker_nodes, key=lambda node: node.node_id)[0]
            cluster.remove_node(victim, allow_graceful=False)
            killed.append(victim)
            if len(killed) < kills:
                add_node(cluster, num_cpus=1)

    found = build(GIGAMIDI, paths, cache=folder / "shared", engine=find_engine("ray", cluster.address), progress=kill)
    assert len(killed) == kills
    assert found.built == len(paths)
    require_the_same(found, alone)
    assert not [path for path in (folder / "shared" / "corpus").rglob("*") if "midigpt-tmp" in path.name]


def test_a_killed_node_costs_its_shards_time_only(cluster: Cluster, tmp_path: Path, capfd: Any) -> None:
    build_with_kills(cluster, tmp_path, shards=5, rows=400, kills=1)
    # Ray says a lot about it, in the midst of what a command prints.
    assert "raylet" not in capfd.readouterr().out


def test_a_lost_node_is_named(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ray itself may notice only after the build that a node is lost, so its list of nodes is shortened here."""
    found = ray_engine._nodes
    calls = []

    def nodes() -> dict[str, dict[str, Any]]:
        calls.append(1)
        return {} if len(calls) == 3 else found()

    monkeypatch.setattr(ray_engine, "_nodes", nodes)
    paths = write_shards(tmp_path / "data", 1, 5)
    assert build(GIGAMIDI, paths, cache=tmp_path / "cache", engine=find_engine("ray", cluster.address)).built == 1
    assert "(127.0.0.1) was lost. The shards that it was building are built again." in caplog.text
    assert "No node of the Ray cluster is left. Waiting for one." in caplog.text


@pytest.mark.slow
def test_nodes_killed_at_ten_points(cluster: Cluster, tmp_path: Path) -> None:
    build_with_kills(cluster, tmp_path, shards=24, rows=1500, kills=10)


def test_the_command_and_a_store(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Nodes put corpora into an object store and keep none; training's node copies them from there."""
    paths = write_shards(tmp_path / "data", 3, 40)
    alone = build(GIGAMIDI, paths, cache=tmp_path / "alone")
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "driver"))
    with object_store() as address:
        monkeypatch.setenv("MIDIGPT_STORE", address)
        preprocess = ["preprocess", "--engine", "ray", "--address", cluster.address, "--data", *paths]
        assert main(preprocess) == 0
        assert "3 shards, 3 built now, in" in capsys.readouterr().out
        assert not list((tmp_path / "driver").rglob("pieces.arrow"))
        found = build(GIGAMIDI, paths, cache=tmp_path / "node", store=SharedStore(address))
        assert (found.built, found.fetched) == (0, 3)
        require_the_same(found, alone)
        assert main([*preprocess, "--encoder-config", "yellow"]) == 2
        assert "--engine with MIDIGPT_STORE" in capsys.readouterr().err


def test_ctrl_c_ends_the_build_and_keeps_finished_shards(cluster: Cluster, tmp_path: Path) -> None:
    paths = write_shards(tmp_path / "data", 8, 1000)
    command = [sys.executable, "-m", "midigpt", "preprocess", "--engine", "ray", "--address", cluster.address]
    cache = tmp_path / "cache"
    environment = os.environ | {"MIDIGPT_CACHE": str(cache)}
    with subprocess.Popen([*command, "--data", *paths], stderr=subprocess.PIPE, env=environment, text=True) as process:
        until = time.monotonic() + 120
        while not list(cache.rglob(SIDECAR_NAME)) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in printed
    after = build(GIGAMIDI, paths, cache=cache)
    assert after.built < len(paths)
    require_the_same(after, build(GIGAMIDI, paths, cache=tmp_path / "alone"))


def test_a_node_without_the_package_is_named(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node looks for a distribution that is not there, as one without midigpt-core does."""
    monkeypatch.setattr(ray_engine, "_DISTRIBUTION", "midigpt-core-elsewhere")
    paths = write_shards(tmp_path / "data", 1, 5)
    lacks = (
        rf"node {re.escape(socket.gethostname())} \(127\.0\.0\.1\) lacks the package midigpt-core-elsewhere\. Install"
    )
    with pytest.raises(PluginError, match=lacks):
        build(GIGAMIDI, paths, cache=tmp_path / "cache", engine=find_engine("ray", cluster.address))
    assert not (tmp_path / "cache" / "corpus").exists()


def test_an_error_of_a_shard_names_the_machine_and_ends_the_build(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    paths = write_shards(tmp_path / "data", 1, 5)
    (tmp_path / "data" / "1.parquet").write_bytes(b"no parquet")
    assert main(["preprocess", "--engine", "ray", "--address", cluster.address, "--data", str(tmp_path / "data")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"Error: on {socket.gethostname()}: {tmp_path}/data/1.parquet: not a readable parquet")
    assert paths


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:1", "Connection refused"),
        ("127.0.0.1:x", "the port 'x' is not a number"),
        ("nohost.invalid:6379", "not known"),
        ("no address", "Invalid address format"),
        ("{silent}", "no answer within 2 s"),
    ],
)
def test_a_wrong_address_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, address: str, says: str
) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ray_engine, "_ANSWER_S", 2.0)
    (path,) = write_shards(tmp_path / "data", 1, 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        named = address.format(silent=f"127.0.0.1:{silent.getsockname()[1]}")
        assert main(["preprocess", "--engine", "ray", "--address", named, "--data", path]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(f"Error: --address {named}: no Ray cluster can be used there (")
    assert says in error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--engine", "rey"], "no engine named 'rey'. Did you mean 'ray'? Available: ray."),
        (["--address", "127.0.0.1:1"], "--address: is of an engine"),
        (["--engine", "ray", "--workers", "2"], "--workers: an engine uses all processors"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, capsys: Any, arguments: list[str], says: str) -> None:
    assert main(["preprocess", "--data", str(tmp_path), *arguments]) == 2
    assert says in capsys.readouterr().err


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name = "ray"

        def load(self) -> None:
            raise ModuleNotFoundError("No module named 'ray'", name="ray")

    monkeypatch.setattr(engines, "entry_points", lambda **_: [Entry()])
    with pytest.raises(PluginError, match=r"needs the package 'ray'.*pip install 'midigpt-core\[ray\]'"):
        find_engine("ray")
