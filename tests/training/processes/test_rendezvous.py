"""Ranks that wait for others that do not come: what is said, and that a signal, a time-out or a taken port ends it."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from midigpt_core.training.processes import rendezvous
from support.stopping import Run, joined, observed, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.training import Configure

#: Two processes, on two machines or on one.
NODES: dict[str, Any] = {"devices": 1, "num_nodes": 2, "strategy": "ddp"}
DEVICES: dict[str, Any] = {"devices": 2, "num_nodes": 1, "strategy": "ddp"}


@pytest.fixture
def port() -> Iterator[int]:
    """A port without a listener."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    yield number


def places(port: int, **more: object) -> dict[str, str]:
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}
    return {name: str(value) for name, value in {**common, **more}.items()}


@pytest.mark.parametrize(
    ("layout", "environment", "waits", "number"),
    [
        pytest.param(NODES, {"NODE_RANK": 0}, "Rank 0 of 2 has been waiting for the other 1 of 2", 15, id="node 1"),
        pytest.param(NODES, {"NODE_RANK": 1}, "Rank 1 of 2 has been waiting for rank 0", 2, id="the first node"),
        # MASTER_PORT is left over too: nothing tells such a process from one that is meant to wait.
        pytest.param(DEVICES, {"LOCAL_RANK": 1}, "Rank 1 of 2 has been waiting for rank 0", 15, id="left-over rank"),
    ],
)
def test_waiting_is_said_and_heeds_signals(  # noqa: PLR0917
    layout: dict[str, Any],
    environment: dict[str, int],
    waits: str,
    number: int,
    port: int,
    configure: Configure,
    shard: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(rendezvous, "PATIENCE_S", 1.0)
    with (tmp_path / "said").open("wb") as output:
        run = Run(configure(**layout), shard, output=output.fileno())
        process = run.start(environment=places(port, **environment))
    said = tmp_path / "said"
    until(lambda: "has been waiting" in said.read_text(encoding="utf-8") or not process.is_alive(), seconds=30)
    (line,) = (line for line in said.read_text(encoding="utf-8").splitlines() if "has been waiting" in line)
    assert waits in line
    assert f"at 127.0.0.1:{port} for 1 s. Start a process for every device of every node" in line
    assert process.is_alive()
    assert process.pid is not None
    begun = time.monotonic()
    os.kill(process.pid, number)
    assert joined([process])[0] in (128 + number, -number)
    assert time.monotonic() - begun < 5
    assert not observed(run.folder)
    text = said.read_text(encoding="utf-8")
    assert "Traceback" not in text
    is_first = layout is NODES and environment["NODE_RANK"] == 0
    assert text.count(f"Stopped by {signal.Signals(number).name} before a step was taken.") == int(is_first)


def test_the_warning_comes_after_ten_seconds() -> None:
    assert rendezvous.PATIENCE_S == 10


def test_a_node_that_never_comes_ends_the_run_by_name(
    port: int, configure: Configure, shard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Run(configure(**NODES, collective_timeout=2), shard)
    assert joined([run.start(environment=places(port, NODE_RANK=0))]) == [2]
    said = capfd.readouterr().err
    assert said.count("Error: ") == 1
    assert f"Error: rank 0 of 2 did not meet the others at 127.0.0.1:{port} (" in said
    assert "Start a process for every device of every node" in said
    assert "Traceback" not in said


def test_a_port_in_use_is_a_line_and_leaves_no_rank(
    configure: Configure, shard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("", 0))
        taken.listen()
        number = taken.getsockname()[1]
        run = Run(configure(**DEVICES), shard)
        # The first of the processes that Lightning starts: it is the one that starts the others.
        assert joined([run.start(environment=places(number))]) == [2]
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == (
        f"Error: port {number} of this machine is in use by another process. Set MASTER_PORT to a free one, the same on"
        " all nodes."
    )
    assert not observed(run.folder)


def test_a_rank_left_over_from_another_run(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MASTER_PORT", raising=False)
    left_over = {"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": ""}
    assert joined([Run(configure("several", **DEVICES), shard).start(environment=left_over)]) == [2]
    assert "LOCAL_RANK is set to 1 and MASTER_PORT is not: left over from another run?" in capfd.readouterr().err
    # A run of one process has no others to look for.
    alone = Run(configure("alone", max_steps=1), shard)
    assert joined([alone.start(environment=left_over)]) == [0]
    assert (alone.folder / "model_final.pt").exists()
