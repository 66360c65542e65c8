"""The server as a process: its address, a stream that is cancelled, a client that leaves, signals, faulty starts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from midigpt_server.settings import ServerSettings, from_file, host_of, origin_of

from midigpt_core.checkpoint import save_bundle
from midigpt_core.checkpoint.adapters import apply_files
from midigpt_core.cli.main import main
from midigpt_core.errors import ConfigError
from support.adapters import lora_for
from support.serving import body, small_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

_BARS = 2_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("bundle"))


@contextmanager
def serving(bundle: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    command = [sys.executable, "-m", "midigpt", "serve", "--checkpoint", str(bundle), "--port", "0", *options]
    with serving_by(command) as started:
        yield started


@contextmanager
def serving_by(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"Listening on (http://\S+)", line):
                with httpx.Client(base_url=found[1], timeout=120) as client:
                    yield process, client
                break
        else:
            pytest.fail("the server never listened")
    finally:
        process.kill()
        process.communicate()


def long_body(**more: Any) -> dict[str, Any]:
    return body(*range(_BARS), num_bars=_BARS + 48, stream=True, request_id="long", **more)


def frames(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    return (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))


def idle(client: httpx.Client) -> bool:
    deadline = time.monotonic() + 60
    while client.get("/health").json()["inflight"]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def until(reached: Callable[[], bool], waiting: Future[httpx.Response]) -> None:
    """Wait until ``reached``, a minute at most, while the request ``waiting`` is in flight."""
    deadline = time.monotonic() + 60
    while not reached():
        assert not waiting.done(), waiting.result().text
        assert time.monotonic() < deadline
        time.sleep(0.05)


def refused(url: httpx.URL) -> bool:
    """Whether the address takes no connection."""
    try:
        httpx.get(url, timeout=10)
    except httpx.TransportError as error:
        # A connection that was just waiting to be accepted breaks off in another way.
        return isinstance(error, httpx.ConnectError)
    return False


def test_a_stream_is_cancelled_a_client_leaves_and_a_signal_lets_the_last_one_finish(bundle: Path) -> None:
    with serving(bundle) as (process, client):
        with client.stream("POST", "/generate", json=long_body()) as answer:
            got = frames(answer.iter_lines())
            # The first notes come before their bar is complete.
            first = next(frame for frame in got if frame["type"] == "notes")
            assert first["notes"][0]["bar"] == 0
            while all(one["bar"] == 0 for one in first.get("notes", [])):
                first = next(got)
            assert client.post("/generate/long/cancel").json() == {"request_id": "long", "status": "cancelling"}
            last = list(got)[-1]
        assert last["type"] == "cancelled"
        bars = last["response"]["score"]["tracks"][0]["bars"]
        sent = long_body()["score"]["tracks"][0]["bars"]
        assert [one["pitch"] for one in bars[0]["notes"]] != [one["pitch"] for one in sent[0]["notes"]]
        assert [one["pitch"] for one in bars[_BARS - 1]["notes"]] == [one["pitch"] for one in sent[_BARS - 1]["notes"]]

        with client.stream("POST", "/generate", json=long_body()) as answer:
            next(answer.iter_lines())
        assert idle(client), "the client left, and its generation went on"

        with client.stream("POST", "/generate", json=body(1, 2, stream=True)) as answer:
            process.send_signal(signal.SIGTERM)
            assert list(frames(answer.iter_lines()))[-1]["type"] == "done"
        process.wait(60)
        assert process.returncode == -signal.SIGTERM


def many_steps(**more: Any) -> dict[str, Any]:
    """Takes a minute to plan: 8,192 steps, each of which can see one part of 128 tracks."""
    bars = [{"notes": []} for _ in range(64)]
    tracks = [{"instrument": track, "bars": bars} for track in range(128)]
    prompts = [{"id": track, "bars": [*range(64)]} for track in range(128)]
    return {"score": {"resolution": 12, "tracks": tracks}, "request": {"tracks": prompts}, "request_id": "plan", **more}


def test_a_request_that_is_planned_is_cancelled_left_and_limited(bundle: Path) -> None:
    with serving(bundle, "--max-generation-seconds", "2.5") as (_, client):
        # By the limit.
        answer = client.post("/generate", json=many_steps()).json()
        assert answer["status"] == "cancelled"
        assert not any(bar["notes"] for track in answer["score"]["tracks"] for bar in track["bars"])
        planned = many_steps()
        planned["request"]["config"] = {"plan_only": True}
        assert client.post("/generate", json=planned).json()["status"] == "cancelled"
        assert client.post("/generate", json=body(1)).json()["status"] == "completed"
    with serving(bundle) as (_, client):
        # By a client that leaves.
        with pytest.raises(httpx.ReadTimeout):
            client.post("/generate", json=many_steps(), timeout=httpx.Timeout(30, read=1))
        assert idle(client)
        # By a call.
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.post, "/generate", json=many_steps())
            until(lambda: client.post("/generate/plan/cancel").status_code != 404, waiting)
            assert waiting.result(60).json()["status"] == "cancelled"
        assert idle(client)


@contextmanager
def ending(bundle: Path, *changes: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client, Future[httpx.Response]]]:
    """A server that was told to end while it writes thousands of bars; ``changes`` to its module come first."""
    start = f"""
from midigpt_core.cli.main import main
from midigpt_server import process
{";".join(changes)}
main(["serve", "--checkpoint", {str(bundle)!r}, "--port", "0"])
"""
    with serving_by([sys.executable, "-c", start]) as (process, client), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.post, "/generate", json={**long_body(), "stream": False})
        until(lambda: "midigpt_generations_in_flight 1" in client.get("/metrics").text, waiting)
        process.send_signal(signal.SIGTERM)
        yield process, client, waiting


def test_a_generation_that_outlasts_the_drain_is_cancelled_and_answered(bundle: Path) -> None:
    with ending(bundle, "process._DRAIN_S = 1") as (process, client, waiting):
        answer = waiting.result(60)
        assert answer.status_code == 200
        assert answer.json()["status"] == "cancelled"
        with pytest.raises(httpx.ConnectError):
            httpx.get(client.base_url)
        assert process.stderr is not None
        rest = process.stderr.read()
        assert process.wait(60) == -signal.SIGTERM
        assert "Traceback" not in rest


def test_what_cannot_be_cancelled_in_time_is_answered_too(bundle: Path) -> None:
    changes = ("process._DRAIN_S = 0", "process._ANSWER_S = 1", "process._Server._cancel_all = property(lambda self: "
               "lambda: None, lambda self, _: None)")  # fmt: skip
    with ending(bundle, *changes) as (process, _, waiting):
        answer = waiting.result(60)
        assert answer.status_code == 503
        assert answer.json()["detail"] == "the server is ending. Try again when it is back."
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        assert process.wait(60) == -signal.SIGTERM


def test_a_second_signal_ends_the_server_at_once(bundle: Path) -> None:
    with ending(bundle) as (process, client, waiting):
        # The first one arrived.
        until(lambda: refused(client.base_url), waiting)
        sent = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
        assert time.monotonic() - sent < 5
        with pytest.raises(httpx.RemoteProtocolError):
            waiting.result(10)


def test_an_idle_server_ends_by_itself(bundle: Path) -> None:
    with serving(bundle, "--idle-timeout", "1") as (process, _):
        assert process.wait(120) == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("port: 99999", "port is 99999. Choose a whole number from 0 to 65,535."),
        ("port: true", "port is true"),
        ("max_queue: 0", "max_queue is 0"),
        ("max_queue: 1.5", "Choose a whole number"),
        ("max_parallel: 0", "max_parallel is 0"),
        ("idle_timeout: -1", "idle_timeout is -1"),
        ("max_generation_seconds: .nan", "max_generation_seconds is"),
        ("log_level: loud", "Choose one of DEBUG, INFO, WARNING, ERROR."),
        ("device: tpu", "device is 'tpu'. Choose one of cpu, cuda, mps, auto."),
        ("host: ''", "host: expected text"),
        ("hf_repo: 5", "hf_repo: expected text"),
    ],
)
def test_a_value_of_a_file_that_no_option_would_take_is_refused(tmp_path: Path, line: str, said: str) -> None:
    config = tmp_path / "server.yaml"
    config.write_text(f"{line}\nmodels: [{{id: one, ckpt: one.pt}}]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(said)):
        from_file(str(config), ServerSettings(models=[]))


def test_a_file_of_models_is_a_small_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    bomb = "a0: &a0 [1, 2]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    for name, content, said in (
        ("pipe.yaml", None, "cannot be read (is a named pipe"),
        ("bomb.yaml", bomb, "more than 1,000,000 values"),
        ("models.conf", "[1", "is not valid YAML"),
        ("list.yaml", "[1]", "not a mapping"),
        ("empty.yaml", "", "models: expected a list of models"),
    ):
        if content is not None:
            (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(ConfigError, match=re.escape(said)):
            from_file(str(tmp_path / name), ServerSettings(models=[]))


def test_what_has_no_effect_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tmp_path / "server.yaml"
    config.write_text("prt: 3473\nallow_origin: x\nhost: ::1\nmodels: [{id: one, ckpt: no.pt, devise: cpu}]\n", "utf-8")
    options = ["--host", "127.0.0.1", "--port", "5", "--device", "cpu"]
    assert main(["serve", "--config", str(config), *options]) == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"{config}: prt has no effect: there is no such key. Did you mean 'port'?",
        f"{config}: allow_origin has no effect: there is no such key. Give it as --allow-origin.",
        f"{config}: models[0]: devise has no effect: there is no such key. Did you mean 'device'?",
        f"--host has no effect: host in {config} replaces it.",
        f"--device has no effect with --config. Set device in {config}.",
    ]


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://daw.example", "https://daw.example"),
        ("HTTPS://Daw.Example:443/", "https://daw.example"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:80", "http://[::1]"),
        ("app://obsidian.md", "app://obsidian.md"),
        ("null", "null"),
        ("daw.example", None),
        ("https://daw.example/studio", None),
        ("https://daw.example?x", None),
        ("https://me@daw.example", None),
        ("https://daw.example:http", None),
        ("https://*.example", None),
        ("*", None),
    ],
)
def test_an_origin_is_spelled_as_browsers_send_it(text: str, origin: str | None) -> None:
    if origin is None:
        with pytest.raises(ConfigError, match="not an origin"):
            origin_of(text)
    else:
        assert origin_of(text) == origin


def test_a_host_is_a_name() -> None:
    assert [host_of(text) for text in ("Studio.example", "studio.example:3456", "[::1]:5")] == [
        "studio.example",
        "studio.example",
        "::1",
    ]
    for text in ("http://studio.example", "*.example", "studio/x", ":80"):
        with pytest.raises(ConfigError, match="not a name"):
            host_of(text)


def test_values_of_a_file_win_over_options(tmp_path: Path) -> None:
    config = tmp_path / "server.yaml"
    config.write_text("log_level: debug\nidle_timeout: 5\nmodels: [{id: one, ckpt: one.pt, device: AUTO}]\n", "utf-8")
    settings = from_file(str(config), ServerSettings(models=[], port=5))
    assert (settings.log_level, settings.idle_timeout, settings.port) == ("DEBUG", 5, 5)
    assert settings.models[0].device == "auto"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "exactly one of --checkpoint, --pretrained and --config"),
        (["--checkpoint", "absent.pt"], "absent.pt"),
        (["--checkpoint", "{bundle}", "--device", "cuda"], "device 'cuda' is not available"),
        (["--checkpoint", "{bundle}", "--host", "no.such.host.invalid"], "no.such.host.invalid"),
        (["--config", "{config}"], "models[0]: expected one of ckpt and pretrained"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_a_line(
    bundle: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    config = tmp_path / "server.yaml"
    config.write_text("models: [{id: one}]\n", encoding="utf-8")
    given = [option.format(bundle=bundle, config=config) for option in options]
    command = [sys.executable, "-m", "midigpt", "serve", "--port", "0", *given]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr


def test_models_of_a_file_answer_by_their_ids(bundle: Path, tmp_path: Path) -> None:
    config = tmp_path / "server.yaml"
    models = [{"id": "one", "ckpt": str(bundle)}, {"id": "two", "ckpt": str(bundle), "max_parallel": 2}]
    config.write_text(json.dumps({"default_model": "two", "models": models, "unknown": 1, "max_queue": 3}), "utf-8")
    command = [
        sys.executable,
        "-m",
        "midigpt_server.command",
        "--config",
        str(config),
        "--port",
        "0",
        "--host",
        "localhost",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if "Listening" in line)
        found = re.search(r"http://\S+", line)
        assert found is not None
        with httpx.Client(base_url=found[0], timeout=120) as client:
            assert client.get("/models").json()["default_model"] == "two"
            assert client.get("/health").json()["max_queue"] == 3
            assert client.post("/generate", json=body(1, model="one")).json()["model"] == "one"
    finally:
        process.kill()
        process.communicate()


def test_adapters_are_offered_as_models(bundle: Path, tmp_path: Path) -> None:
    adapter = lora_for(bundle, tmp_path / "jazz" / "adapter.safetensors")
    merged = save_bundle(apply_files([adapter], bundle), tmp_path / "merged.pt")
    asked = body(1, 2)

    def answers(client: httpx.Client, *names: str) -> list[Any]:
        sent = [client.post("/generate", json={**asked, "model": name}) for name in names]
        return [answer.raise_for_status().json()["score"] for answer in sent]

    with serving(bundle, "--adapter", str(adapter), "--adapter", f"second={adapter.parent}") as (_, client):
        listed = client.get("/models").json()
        assert listed["default_model"] == bundle.stem
        assert [model["id"] for model in listed["models"]] == [bundle.stem, "jazz", "second"]
        base, jazz, second = answers(client, bundle.stem, "jazz", "second")
    with serving(merged) as (_, client):
        (expected,) = answers(client, merged.stem)
    assert jazz == second == expected != base


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--adapter", "small={adapter}"], "there is a model called 'small' already. Name it"),
        (["--adapter", "={adapter}"], "expected NAME=FILE or FILE"),
        (["--adapter", "a=missing.safetensors"], "missing.safetensors: cannot be read"),
    ],
)
def test_an_adapter_that_cannot_be_offered(
    options: list[str], said: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = lora_for(bundle, tmp_path / "adapter.safetensors")
    given = [option.format(adapter=adapter) for option in options]
    assert main(["serve", "--checkpoint", str(bundle), "--port", "0", *given]) == 2
    assert said in capsys.readouterr().err


def test_adapters_of_a_file(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"

    def models(adapters: str) -> Any:
        path.write_text(f"models:\n- id: base\n  ckpt: {bundle}\n  adapters: {adapters}\n", encoding="utf-8")
        return from_file(str(path), ServerSettings(models=[])).models

    assert dict(models("{jazz: jazz.safetensors}")[0].adapters) == {"jazz": "jazz.safetensors"}
    wrong = {"[1]": "expected a mapping of ids", "{a: 1}": r"adapters\.a: expected text", "{base: x}": "given twice"}
    for adapters, said in wrong.items():
        with pytest.raises(ConfigError, match=said):
            models(adapters)
