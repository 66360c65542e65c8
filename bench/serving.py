"""How many requests a server answers, how soon the first notes come, and whether load loses, changes or keeps anything.

Both servers are processes of their own with the same bundle and get the same requests; they take turns. Seconds are
those of the clock, because a server is something to wait for.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

from bench import generation
from bench.rows import BASELINE, Row, at_most, ratio_at_least, ratio_at_most

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.session import Session

#: The model's size, one of those of the group generation.
_SIZE = "default"
_CLIENTS = 16
#: Requests of each client in a turn.
_REQUESTS = 3
#: Requests of the baseline's clients in a turn: it takes far longer.
_BASELINE_REQUESTS = 1
_TURNS = 3
_FIRST_NOTES = 7
#: Requests under load, of which so many are sent before memory is read for the first time.
_MIXED, _WARM = 1_000, 200
_KINDS = 20
_START_S, _ANSWER_S = 240, 600
#: Notes of a bar at most: random weights would otherwise fill the model's window.
_LIMIT = 8


def rows(session: Session) -> Iterator[Row]:
    session.folder.mkdir(parents=True, exist_ok=True)
    bundle = generation.random_bundle(session.folder, _SIZE)
    with _ours(bundle) as ours, _baseline(session, bundle) as baseline:
        servers = {"ours": ours, **({} if baseline is None else {"theirs": baseline})}
        yield _throughput(servers)
        yield _first_note(servers)
    yield from _load(generation.random_bundle(session.folder, "tiny"))


@frozen
class _Server:
    process: subprocess.Popen[str]
    port: int

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_S)

    def post(self, body: dict[str, Any], path: str = "/generate") -> tuple[int, dict[str, Any]]:
        connection = self.connection()
        with contextlib.closing(connection):
            _send(connection, body, path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def get(self, path: str) -> dict[str, Any]:
        connection = self.connection()
        with contextlib.closing(connection):
            connection.request("GET", path)
            return dict(json.loads(connection.getresponse().read()))

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return 1024 * int(found[1])


def _send(connection: http.client.HTTPConnection, body: dict[str, Any], path: str = "/generate") -> None:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})


@contextlib.contextmanager
def _started(command: Sequence[object], port: int, folder: Path | None = None) -> Iterator[_Server]:
    """A server, once it answers. What it prints goes where the bench's own messages go."""
    process = subprocess.Popen([str(part) for part in command], stdout=sys.stderr, text=True, cwd=folder)
    server = _Server(process, port)
    try:
        until = time.monotonic() + _START_S
        while True:
            try:
                server.get("/health")
            except OSError as error:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{command[0]} did not start") from error
                time.sleep(0.2)
            else:
                break
        yield server
    finally:
        process.terminate()
        process.wait(60)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _ours(bundle: Path) -> contextlib.AbstractContextManager[_Server]:
    port = _free_port()
    command = [sys.executable, "-m", "midigpt", "serve", "--checkpoint", bundle, "--port", str(port),
               "--max-queue", "2000", "--log-level", "ERROR"]  # fmt: skip
    return _started(command, port)


@contextlib.contextmanager
def _baseline(session: Session, bundle: Path) -> Iterator[_Server | None]:
    program = None if session.baseline_python is None else session.baseline_python.with_name("midigpt-http")
    if program is None:
        yield None
        return
    port = _free_port()
    command = [program.absolute(), "--ckpt", bundle.absolute(), "--host", "127.0.0.1", "--port", str(port),
               "--log-level", "ERROR"]  # fmt: skip
    # It writes requests that failed into its working folder.
    with _started(command, port, session.folder) as server:
        yield server


def _body(seed: int, bars: Sequence[int] = (0, 1, 2, 3), **more: Any) -> dict[str, Any]:
    """Four bars of a melody to fill in, beside a bass and drums."""

    def bar(pitch: int, beats: int) -> dict[str, Any]:
        length = 48 // beats
        return {"notes": [{"pitch": pitch, "velocity": 90, "onset_ticks": beat * length, "duration_ticks": length}
                          for beat in range(beats)]}  # fmt: skip

    tracks = [
        {"instrument": 0, "track_type": "melodic", "bars": [bar(60 + seed % 12 + number, 4) for number in range(4)]},
        {"instrument": 33, "track_type": "melodic", "bars": [bar(36 + number, 2) for number in range(4)]},
        {"instrument": 0, "track_type": "drum", "bars": [bar(38, 8) for _ in range(4)]},
    ]
    config = {"seed": seed, "model_dim": 4, "bars_per_step": 4, "mask_mode": "attention", "novelty_check": False,
              "silence_check": False, "density_hard_limit": _LIMIT}  # fmt: skip
    request = {"tracks": [{"id": 0, "bars": list(bars)}, {"id": 1, "bars": []}, {"id": 2, "bars": []}],
               "config": config}  # fmt: skip
    return {"score": {"resolution": 12, "tracks": tracks}, "request": request, **more}


def _throughput(servers: dict[str, _Server]) -> Row:
    counts = {"ours": _REQUESTS, "theirs": _BASELINE_REQUESTS}
    rates: dict[str, list[float]] = {name: [] for name in servers}
    failed = dict.fromkeys(servers, 0)
    for server in servers.values():
        server.post(_body(0))
    for turn in range(_TURNS):
        for name, server in servers.items():

            def client(number: int, name: str = name, server: _Server = server, turn: int = turn) -> int:
                seeds = [1 + (turn * _CLIENTS + number) * _REQUESTS + index for index in range(counts[name])]
                return sum(server.post(_body(seed))[0] == 200 for seed in seeds)

            started = time.perf_counter()
            with ThreadPoolExecutor(_CLIENTS) as clients:
                done = sum(clients.map(client, range(_CLIENTS)))
            rates[name].append(4 * done / (time.perf_counter() - started))
            failed[name] += _CLIENTS * counts[name] - done
    lost = "; ".join(f"{name}: {count} failed" for name, count in failed.items() if count) or "none failed"
    return _compared(
        f"bars of {_CLIENTS} clients at once",
        "bars/s",
        rates,
        ratio_at_least(5),
        f"default (512/6/8), random weights; each request fills in four bars of a track beside two others, at most "
        f"{_LIMIT} notes a bar; on the clock; {lost}",
    )


def _first_note(servers: dict[str, _Server]) -> Row:
    times: dict[str, list[float]] = {name: [] for name in servers}
    for turn in range(_FIRST_NOTES):
        for name, server in servers.items():
            waited = _seconds_to_notes(server, _body(500 + turn, stream=True))
            if waited is not None:
                times[name].append(1e3 * waited)
    return _compared(
        "the first streamed note, one client",
        "ms",
        times,
        ratio_at_most(0.5),
        "the same requests one by one; from sending the request to the first frame with notes",
    )


def _seconds_to_notes(server: _Server, body: dict[str, Any]) -> float | None:
    connection = server.connection()
    with contextlib.closing(connection):
        started = time.perf_counter()
        _send(connection, body)
        waited = None
        for line in connection.getresponse():
            if waited is None and line.startswith(b'data: {"type": "notes"'):
                waited = time.perf_counter() - started
        return waited


def _compared(name: str, unit: str, figures: dict[str, list[float]], required: Any, how: str) -> Row:
    return Row(
        name=name,
        unit=unit,
        ours=statistics.median(figures["ours"]),
        theirs=statistics.median(figures["theirs"]) if figures.get("theirs") else None,
        against=BASELINE,
        required=required,
        how=how,
        samples=figures,
    )


@define
class _Tally:
    """What became of the requests under load."""

    right: int = 0
    cancelled: int = 0
    cut_off: int = 0
    #: Not answered, or with a status that no request should have.
    lost: int = 0
    #: Other music than alone.
    wrong: int = 0


def _load(bundle: Path) -> Iterator[Row]:
    """A thousand requests of many kinds, some cancelled and some cut off."""
    with _ours(bundle) as server:
        alone = [server.post(_kind(kind))[1] for kind in range(_KINDS)]
        expected = [_music(answer) for answer in alone]
        tally, lock = _Tally(), threading.Lock()
        rng = random.Random(7)
        fates = ["cancel"] * (_MIXED // 10) + ["cut"] * (_MIXED // 20)
        fates += ["keep"] * (_MIXED - len(fates))
        rng.shuffle(fates)
        resident: list[int] = []

        def one(number: int) -> None:
            if number == _WARM:
                resident.append(server.resident_bytes())
            outcome = _outcome(server, number, fates[number], expected)
            with lock:
                setattr(tally, outcome, getattr(tally, outcome) + 1)

        with ThreadPoolExecutor(_CLIENTS) as clients:
            list(clients.map(one, range(_MIXED)))
        until = time.monotonic() + 30
        while server.get("/health")["inflight"] and time.monotonic() < until:
            time.sleep(0.1)
        held = int(server.get("/health")["inflight"])
        resident.append(server.resident_bytes())
    how = (
        f"tiny (128/4/4); {_MIXED:,} requests of {_KINDS} kinds by {_CLIENTS} clients: streamed, plain and of several "
        f"candidates; a tenth cancelled, a twentieth cut off: {tally.right} right, {tally.cancelled} cancelled, "
        f"{tally.cut_off} cut off"
    )
    yield Row(name="places in the queue that are not given back", unit="", ours=held, required=at_most(0), how=how)
    yield Row(name="requests that are lost", unit="", ours=tally.lost, required=at_most(0), how=how)
    yield Row(name="requests with other music than alone", unit="", ours=tally.wrong, required=at_most(0), how=how)
    yield Row(
        name="growth of memory",
        unit="%",
        ours=100 * (resident[-1] / resident[0] - 1),
        required=at_most(2),
        how=f"resident bytes after all {_MIXED:,} requests, compared with those after {_WARM}",
    )


def _kind(number: int, **more: Any) -> dict[str, Any]:
    bars = [(1,), (0, 1, 2, 3), (2, 3), (0,)][number % 4]
    body = _body(number, bars, **more)
    if number % 5 == 3 and not more.get("stream"):
        body["request"]["config"]["num_candidates"] = 3
    if number % 5 == 4:
        body["request"]["tracks"][0]["autoregressive"] = True
    return body


def _music(answer: dict[str, Any]) -> Any:
    return [one["score"] for one in answer["candidates"]] if "candidates" in answer else answer.get("score")


def _outcome(server: _Server, number: int, fate: str, expected: Sequence[Any]) -> str:
    """The field of :class:`_Tally` that request ``number`` counts in."""
    kind = number % _KINDS
    streams = kind % 5 != 3 and number % 3 == 0
    body = _kind(kind, request_id=f"request-{number}", stream=streams)
    connection = server.connection()
    with contextlib.closing(connection):
        try:
            _send(connection, body)
            if fate == "cut":
                time.sleep(0.001 * (number % 40))
                return "cut_off"
            if fate == "cancel":
                time.sleep(0.001 * (number % 40))
                server.post({}, f"/generate/request-{number}/cancel")
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            return "lost"
    if answer.status != 200:
        return "lost"
    response = _last_frame(content) if streams else json.loads(content)
    if response is None:
        return "lost"
    if response["status"] == "cancelled":
        return "cancelled" if fate == "cancel" else "lost"
    return "right" if _music(response) == expected[kind] else "wrong"


def _last_frame(content: bytes) -> dict[str, Any] | None:
    frames = [json.loads(line[6:]) for line in content.splitlines() if line.startswith(b"data: ")]
    found: dict[str, Any] | None = frames[-1].get("response") if frames else None
    return found
