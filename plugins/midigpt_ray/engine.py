"""Builds corpora on an existing Ray cluster, a task for each shard."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import logging
import os
import pickle
import socket
import threading
from typing import TYPE_CHECKING, Any

import ray
from attrs import frozen
from ray.exceptions import RayError, RayTaskError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from midigpt_core import terminal
from midigpt_core.errors import ComponentError, MidigptError, PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from midigpt_core.contracts import SourceShard
    from midigpt_core.corpus.engines import Engine, ShardResult, ShardTask

_log = terminal.logger("midigpt_ray")

# What Ray raises where it finds no cluster, or one of another version.
_FAILURES = (OSError, RuntimeError, ValueError, RayError)

_DISTRIBUTION = "midigpt-core"
_HERE = "auto"
# A cluster on the same network answers in milliseconds.
_CONNECT_S = 5.0
_ANSWER_S = 20.0
_CHECK_S = 120.0
_POLL_S = 1.0
# How often Ray gives a shard to another worker when a node or worker is lost.
_RETRIES = 20
# Enough that no worker waits for the next shard, few enough that the descriptions of a million shards are not all in
# memory.
_SHARDS_PER_CPU = 3


def build(address: str) -> Engine:
    """The engine ``ray``. ``address``: as ``ray.init`` takes it, by default ``RAY_ADDRESS`` or this machine's."""
    return RayEngine(address or os.environ.get("RAY_ADDRESS", "") or _HERE)


@frozen
class RayEngine:
    """A Ray cluster, by the address of its head."""

    address: str

    def run(self, task: ShardTask, shards: Sequence[SourceShard]) -> Generator[tuple[int, ShardResult]]:
        """See :class:`midigpt_core.corpus.engines.Engine`."""
        # Ray prints there, in the midst of a command's output, what its processes logged before a node was lost.
        with contextlib.redirect_stdout(_Nowhere()):
            self._connect()
            try:
                payload = pickle.dumps(task)
                self._check_nodes(payload)
                yield from self._results(payload, shards)
            finally:
                # Ends what the tasks still do.
                ray.shutdown()

    def _connect(self) -> None:
        try:
            self._try_to_connect()
        except _FAILURES as error:
            raise PluginError(
                f"--address {self.address}: no Ray cluster can be used there ({_one_line(error)}). "
                "Start one with 'ray start --head', and run this command on one of its machines."
            ) from error

    def _try_to_connect(self) -> None:
        host, colon, port = self.address.rpartition("://")[2].rpartition(":")
        if colon:
            if not port.isdecimal():
                raise ValueError(f"the port {port!r} is not a number")
            # Ray itself would try for minutes to connect to what does not answer, or is no Ray cluster.
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
        failures: list[Exception] = []

        def connect() -> None:
            try:
                ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)
            except _FAILURES as error:
                failures.append(error)

        connecting = threading.Thread(target=connect, name="to-ray", daemon=True)
        connecting.start()
        connecting.join(_ANSWER_S)
        if connecting.is_alive():
            raise TimeoutError(f"no answer within {_ANSWER_S:.0f} s")
        if failures:
            raise failures[0]
        if not ray.is_initialized():
            raise RuntimeError("its own message is printed above")

    def _check_nodes(self, payload: bytes) -> None:
        """Raise unless each node can build corpora; the message names the first that cannot."""
        nodes = _nodes().values()
        if not nodes:
            raise PluginError(f"--address {self.address}: no node of the cluster has a CPU. Add one with 'ray start'.")
        check = ray.remote(num_cpus=0, max_retries=0)(_node_check())
        asked = {
            check.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(_DISTRIBUTION, _version(), payload): node
            for node in nodes
        }  # fmt: skip
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_CHECK_S)
        for reference in silent:
            raise PluginError(f"{_name(asked[reference])} does not start a task within {_CHECK_S:.0f} s. Remove it.")
        for reference in answered:
            try:
                problem = ray.get(reference)
            except TaskUnschedulableError:
                # It ended after it was listed, as a node may at any moment of the build.
                continue
            except RayError as error:
                problem = f"cannot run a task ({_one_line(error)}). Restart Ray there"
            if problem:
                raise PluginError(f"{_name(asked[reference])} {problem}.")

    def _results(self, payload: bytes, shards: Sequence[SourceShard]) -> Generator[tuple[int, ShardResult]]:
        work = ray.remote(num_cpus=1, max_retries=_RETRIES)(_build)
        waiting = enumerate(shards)
        running: dict[Any, int] = {}
        nodes = _nodes()
        while True:
            before, nodes = nodes, _nodes()
            for lost in before.keys() - nodes.keys():
                _log.warning("%s was lost. The shards that it was building are built again.", _name(before[lost]))
            if before and not nodes:
                _log.warning("No node of the Ray cluster is left. Waiting for one.")
            cpus = sum(int(node["Resources"]["CPU"]) for node in nodes.values())
            while len(running) < max(1, cpus) * _SHARDS_PER_CPU and (item := next(waiting, None)) is not None:
                number, shard = item
                running[work.remote(payload, _pickled(shard))] = number
            if not running:
                return
            finished, _ = ray.wait(list(running), num_returns=1, timeout=_POLL_S)
            for reference in finished:
                number = running.pop(reference)
                yield number, _result(reference, shards[number])


class _Nowhere(io.TextIOBase):
    """A stream that keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)


def _nodes() -> dict[str, dict[str, Any]]:
    """The nodes that can build, by their ids."""
    return {
        node["NodeID"]: node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
    }  # fmt: skip


def _build(payload: bytes, shard: bytes) -> ShardResult:
    """Runs on a node."""
    task: ShardTask = pickle.loads(payload)
    try:
        return task(pickle.loads(shard))
    except MidigptError as error:
        raise type(error)(f"on {socket.gethostname()}: {error}") from None


def _result(reference: Any, shard: SourceShard) -> ShardResult:
    try:
        result: ShardResult = ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, MidigptError | ComponentError):
            raise error.cause from error
        raise
    except RayError as error:
        raise PluginError(
            f"{shard.name}: its worker was lost {_RETRIES + 1} times ({_one_line(error)}). "
            "Look for what ends it in Ray's logs, such as a lack of memory, and run again: finished shards are kept."
        ) from error
    return result


def _pickled(shard: SourceShard) -> bytes:
    try:
        return pickle.dumps(shard)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise PluginError(
            f"{shard.name}: cannot be sent to another machine ({error}). Preprocess this source without --engine."
        ) from error


def _node_check() -> Callable[[str, str, bytes], str]:
    # Ray sends a function of a function by value: the node may lack the package in which it is defined.
    def check(distribution: str, version: str, payload: bytes) -> str:
        """What keeps this node from building corpora; empty: nothing."""
        try:
            found = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            return f"lacks the package {distribution}. Install {distribution} {version} in the environment of its Ray"
        if found != version:
            return f"has {distribution} {found} instead of {version}. Install that in the environment of its Ray"
        errors = importlib.import_module("midigpt_core.errors")
        try:
            pickle.loads(payload).check()
        except errors.MidigptError as error:
            return f"cannot build corpora: {str(error).rstrip('.')}"
        except ImportError as error:
            return f"lacks what the source needs ({error}). Install the source's package there"
        return ""

    return check


def _version() -> str:
    return importlib.metadata.version("midigpt-core")


def _name(node: dict[str, Any]) -> str:
    return f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _one_line(error: BaseException) -> str:
    said = getattr(error, "strerror", None) or str(error)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".:")
