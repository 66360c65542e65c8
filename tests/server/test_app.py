"""The endpoints as clients of the public package midigpt 0.4.2 use them."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from midigpt_encoder.factory import EncoderOptions
from midigpt_encoder.factory import build as build_encoder
from midigpt_server.app import build_app
from midigpt_server.models import Model, Models
from midigpt_server.settings import ModelSettings, ServerSettings

from midigpt_core.contracts import EncoderContext
from midigpt_core.corpus.copy_index import CopyIndex
from midigpt_core.inference import InferenceEngine
from midigpt_core.inference.batching import SharedReader
from support import serving
from support.serving import body, client, note, score, small_bundle
from support.tiny_gpt2 import tiny_gpt2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server() -> Iterator[TestClient]:
    with client(("yellow", "expressive")) as opened:
        yield opened


def frames(lines: Iterator[str]) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_info_describes_the_model_as_clients_read_it(server: TestClient) -> None:
    info = server.get("/info").json()
    assert (info["model"], info["default_model"], info["checkpoint"]) == ("yellow", "yellow", "yellow.pt")
    assert info["resolution"] == 12
    assert info["attributes"]["note_density"] == 10
    assert info["attribute_track_types"]["note_density"] == "drum"
    capabilities = info["capabilities"]
    assert capabilities["max_context_tokens"] == 1024
    assert capabilities["model_dim_options"] == [4, 8]
    assert [capabilities[f"supports_{name}"] for name in ("pitch_mask", "rhythm_mask", "remix")] == [True] * 3
    assert {"dorian", "blues"} <= set(capabilities["pitch_mask_scale_presets"])
    assert {"eighth", "sixteenth_triplet"} <= set(capabilities["rhythm_mask_grid_units"])
    assert "nomml" in server.get("/info", params={"model": "expressive"}).json()["attributes"], (
        "REAPER tells models by it"
    )
    assert server.get("/info", params={"model": ""}).json()["model"] == "yellow"
    unknown = server.get("/info", params={"model": "blue"})
    assert (unknown.status_code, "yellow, expressive" in unknown.json()["detail"]) == (400, True)


def test_info_lists_controls_of_plugins_and_generation_takes_them() -> None:
    """Computed in Python, next to the encoder's own."""
    options = EncoderOptions(config="yellow", attributes=("syncopation", "chroma-entropy"))
    encoder = build_encoder(options, EncoderContext())
    made = InferenceEngine(tiny_gpt2(encoder.vocab_size, 1024, n_layer=1, n_head=1), encoder)
    made.share_reader()
    models = Models([Model("python", "python.pt", made, ThreadPoolExecutor(1))])
    app = build_app(models, ServerSettings(models=[ModelSettings(id="python")]), lambda: None)
    with TestClient(app, base_url="http://127.0.0.1:3456") as server:
        info = server.get("/info").json()
        assert info["attributes"]["attributes/syncopation"] > 1
        assert info["attribute_levels"]["attributes/syncopation"] == "bar"
        assert info["attribute_track_types"]["attributes/chroma-entropy"] == "melodic"
        assert "note_density" in info["attributes"]
        asked = body(2)
        asked["request"]["tracks"][0] |= {"attributes": {"attributes/chroma-entropy": 1}, "autoregressive": True}
        assert server.post("/generate", json=asked).status_code == 200
        asked["request"]["tracks"][0]["attributes"] = {"attributes/chroma-entropi": 1}
        refused = server.post("/generate", json=asked)
        assert refused.status_code == 422
        assert "Did you mean 'attributes/chroma-entropy'?" in refused.json()["detail"]


def test_health_and_models(server: TestClient) -> None:
    assert server.get("/health").json() == {"status": "ok", "inflight": 0, "max_queue": 64}
    listed = server.get("/models").json()
    assert listed["default_model"] == "yellow"
    assert [one["id"] for one in listed["models"]] == ["yellow", "expressive"]


def test_bars_are_filled_in_and_all_else_comes_back_as_it_was(server: TestClient) -> None:
    sent = body(2, request_id="ex-1")
    answer = server.post("/generate", json=sent)
    assert answer.status_code == 200
    assert answer.headers["x-request-id"] == "ex-1"
    got = answer.json()
    assert list(got) == [
        "request_id", "model", "status", "score", "seed", "generated_bars", "dropped_context", "timing", "tokens",
        "attempts",
    ]  # fmt: skip
    assert (got["request_id"], got["model"], got["status"], got["seed"]) == ("ex-1", "yellow", "completed", 11)
    assert got["generated_bars"] == {"0": [2]}
    for index, track in enumerate(sent["score"]["tracks"]):
        for number, bar in enumerate(track["bars"]):
            back = got["score"]["tracks"][index]["bars"][number]["notes"]
            if (index, number) != (0, 2):
                assert back == [{**one, "delta": 0} for one in bar["notes"]]
    assert got["score"]["tracks"][0]["bars"][2]["notes"]
    assert got["tokens"]["generated_tokens"] > 0
    assert got["tokens"]["context_utilization"] == round(got["tokens"]["context_tokens"] / 1024, 4)
    assert got["tokens"]["context_tokens"] < got["tokens"]["peak_context_tokens"] <= 1024
    again = server.post("/generate", json=sent).json()
    assert again["score"] == got["score"], "the same seed, the same music"


def test_defaults_and_keys_that_nobody_knows(server: TestClient) -> None:
    bare = {
        "unknown": 1,
        "score": {"more": 2, "tracks": [{"bars": [{"notes": [note(60)]}, {}, {}, {}]}]},
        "request": {"also": 3, "tracks": [{"id": 0.0, "bars": [1.0], "extra": True}]},
        "model": None,
        "request_id": "",
    }
    got = server.post("/generate", json=bare).json()
    assert got["status"] == "completed"
    assert (got["score"]["resolution"], got["score"]["tempo"]) == (480, 500_000)
    assert len(got["request_id"]) == 32
    assert got["score"]["tracks"][0]["track_type"] == "melodic"
    assert got["score"]["tracks"][0]["bars"][3] == {
        "ts_numerator": 4, "ts_denominator": 4, "future": False, "notes": [],
    }  # fmt: skip


def test_what_a_reaper_script_sends(server: TestClient) -> None:
    """All fields of the script's request: sliders, booleans, autoregressive drums, attributes of bars."""
    config = {
        "temperature": 1.1, "model_dim": 4, "bars_per_step": 2, "tracks_per_step": 1, "polyphony_hard_limit": 5,
        "density_hard_limit": 18, "max_attempts": 3, "temperature_escalation": 1.5, "top_p": 0.95, "top_k": 0,
        "mask_p": 0.0, "mask_k": 0, "mask_mode": "attention", "novelty_check": True, "silence_check": True,
        "shuffle": True,
    }  # fmt: skip
    request = {
        "tracks": [
            {"id": 0, "bars": [1, 2], "autoregressive": False, "ignore": False, "mask_bars": [], "attributes": {},
             "bar_attributes": {}},
            {"id": 1, "bars": [0, 1, 2, 3], "autoregressive": True, "ignore": False, "mask_bars": [],
             "attributes": {"note_density": 4}, "bar_attributes": {}},
        ],
        "config": config,
    }  # fmt: skip
    got = server.post("/generate", json={"score": score(), "request": request}).json()
    assert got["status"] == "completed"
    assert got["generated_bars"] == {"0": [1, 2], "1": [0, 1, 2, 3]}
    assert any(bar["notes"] for bar in got["score"]["tracks"][1]["bars"])


def test_candidates_have_seeds_of_their_own(server: TestClient) -> None:
    got = server.post("/generate", json=body(2, config={"num_candidates": 3})).json()
    assert "score" not in got
    assert [one["seed"] for one in got["candidates"]] == [11, 12, 13]
    assert got["summary"] == {"requested": 3, "succeeded": 3, "failed": 0, "failures": []}
    second = server.post("/generate", json=body(2, config={"seed": 12})).json()
    assert second["score"] == got["candidates"][1]["score"]


def test_a_plan_writes_nothing(server: TestClient) -> None:
    got = server.post("/generate", json=body(1, 2, config={"plan_only": True}, stream=True))
    assert got.headers["content-type"] == "application/json"
    assert "x-request-id" not in got.headers
    plan = got.json()
    assert (plan["status"], plan["request_id"]) == ("planned", None)
    assert [step["generate"] for step in plan["plan"]] == [{"0": [1]}, {"0": [2]}]
    assert plan["plan"][0]["window"] == [0, 4]


def test_a_stream_sends_notes_then_the_answer(server: TestClient) -> None:
    sent = body(1, 2, stream=True, request_id="ex-2")
    with server.stream("POST", "/generate", json=sent) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["x-request-id"] == "ex-2"
        got = frames(answer.iter_lines())
    assert [one["type"] for one in got].count("done") == 1
    assert got[-1]["type"] == "done"
    response = got[-1]["response"]
    streamed = [one for frame in got if frame["type"] == "notes" for one in frame["notes"]]
    written = [
        {"track": 0, "bar": bar, **{name: value for name, value in one.items() if name != "delta"}}
        for bar in (1, 2)
        for one in response["score"]["tracks"][0]["bars"][bar]["notes"]
    ]
    last = max(frame["progress"]["attempt"] for frame in got if "progress" in frame)
    assert last == 1, "choose another seed: notes of a failed attempt are void"
    assert sorted(sorted(one.items()) for one in streamed) == sorted(sorted(one.items()) for one in written)
    plain = server.post("/generate", json=body(1, 2)).json()
    assert plain["score"] == response["score"], "streamed or not, the same music"


def test_a_stream_of_candidates_is_refused_and_gives_its_place_back(server: TestClient) -> None:
    sent = body(2, config={"num_candidates": 2}, stream=True)
    assert server.post("/generate", json=sent).status_code == 400
    assert server.get("/health").json()["inflight"] == 0


def test_infill_probability_leaves_some_bars_as_they_are(server: TestClient) -> None:
    got = server.post("/generate", json=body(0, 1, 2, 3, config={"infill_probability": 0.5})).json()
    kept = set(range(4)) - set(got["generated_bars"]["0"])
    assert len(kept) == 2
    before, after = score()["tracks"][0]["bars"], got["score"]["tracks"][0]["bars"]
    assert all([one["pitch"] for one in after[bar]["notes"]] == [one["pitch"] for one in before[bar]["notes"]]
               for bar in kept)  # fmt: skip


def test_controls_of_notes_hold(server: TestClient) -> None:
    """The controls of 0.4.2's clients: a pitch mask with a shape, a remix of shuffled steps, a rhythm, single bars."""
    scale = {"scale": "minor_pentatonic", "root": 9, "shape": {"type": "normal", "mean": 43, "std": 5}}
    sent = body(1, 2, 3, config={"shuffle": True, "batch_attempts": 1, "mask_mode": "attention_skip"})
    prompt = sent["request"]["tracks"][0]
    prompt["controls"] = {"pitch_mask": scale, "rhythm_mask": {"positions": [{"pos": 0.0}, {"pos": 9, "polyphony": 2}]}}
    prompt["bar_controls"] = {
        "2": {"rhythm_mask": {"grid": {"unit": "half", "strength": 1.0, "swing": 0.5}}}, "3": None,
    }  # fmt: skip
    got = server.post("/generate", json=sent).json()
    bars = got["score"]["tracks"][0]["bars"]
    ticks = got["score"]["resolution"] // 12
    assert [[one["onset_ticks"] / ticks for one in bars[bar]["notes"]] for bar in (1, 3)] == [[0, 9, 9]] * 2
    assert {one["onset_ticks"] / ticks for one in bars[2]["notes"]} <= {0, 24}
    assert {one["pitch"] % 12 for bar in (1, 2, 3) for one in bars[bar]["notes"]} <= {9, 0, 2, 4, 7}

    sent = body(0, 1, config={"shuffle": True})
    sent["request"]["tracks"][0]["controls"] = {"remix": {"amount": 1.0, "mode": "pitch"}}
    got = server.post("/generate", json=sent).json()
    assert got["status"] == "completed"
    for bar in (0, 1):
        before, after = (
            sent["score"]["tracks"][0]["bars"][bar]["notes"],
            got["score"]["tracks"][0]["bars"][bar]["notes"],
        )
        assert [one["onset_ticks"] for one in after] == [one["onset_ticks"] for one in before]


def test_a_future_bar_is_hidden_and_comes_back(server: TestClient) -> None:
    sent = body(1)
    sent["score"]["tracks"][1]["bars"][3]["future"] = True
    other = json.loads(json.dumps(sent))
    other["score"]["tracks"][1]["bars"][3]["notes"] = [note(38, 6, 1)]
    first, second = (server.post("/generate", json=one).json() for one in (sent, other))
    assert first["score"]["tracks"][0] == second["score"]["tracks"][0], "the model saw a hidden bar"
    assert second["score"]["tracks"][1]["bars"][3]["future"]
    assert second["score"]["tracks"][1]["bars"][3]["notes"][0]["pitch"] == 38


@pytest.mark.parametrize(
    ("change", "status", "named"),
    [
        ({"request": {"config": {}}}, 400, "request.tracks"),
        ({"request": {"tracks": [{"id": 0}]}}, 400, "request.tracks[0].bars"),
        ({"request": {"tracks": [{"bars": [1]}]}}, 400, "request.tracks[0].id"),
        ({"request": {"tracks": "x"}}, 422, "request.tracks"),
        ({"request": {"tracks": [{"id": 0, "bars": [1]}], "config": None}}, 422, "request.config"),
        ({"request": {"tracks": [{"id": 0, "bars": [9]}]}}, 422, "bars 9"),
        ({"request": {"tracks": [{"id": 7, "bars": [1]}]}}, 422, "track 7"),
        ({"request": {"tracks": [{"id": 0, "bars": ["1"]}]}}, 422, "request.tracks[0].bars"),
        ({"request": {"tracks": [{"id": 0, "bars": []}]}}, 422, "no bar is to be written"),
        ({"request": {"tracks": [{"id": 0, "bars": [1], "controls": {"remix": {"amount": 0.0}}}]}}, 422, "amount"),
        ({"request": {"tracks": [{"id": 0, "bars": [1], "controls": {"pitch_mask": None}}]}}, 422, "pitch_mask"),
        (
            {"request": {"tracks": [{"id": 0, "bars": [1], "controls": {"rhythm_mask": {}}}]}},
            422,
            "positions or a grid",
        ),
        ({"request": {"tracks": [{"id": 0, "bars": [1], "bar_controls": {"1": {"junk": 1}}}]}}, 422, "bar_controls[1]"),
        ({"request": {"tracks": [{"id": 0, "bars": [1], "bar_controls": {"2": {}}}]}}, 422, "bar_controls[2]"),
        ({"request": {"tracks": [{"id": 0, "bars": [1], "controls": {"pitchmask": 1}}]}}, 422, "pitch_mask"),
        ({"request": {"tracks": [{"id": 0, "bars": [1], "attributes": {"density": 1}}]}}, 422, "density"),
        ({"request": {"tracks": [{"id": 0, "bars": [1]}], "controls": {"genre": "x"}}}, 422, "genre"),
        ({"model": "blue"}, 400, "blue"),
        ({"model": 5}, 422, "model"),
        ({"stream": "perhaps"}, 422, "stream"),
        ({"score": []}, 422, "score"),
    ],
)
def test_a_faulty_request_names_the_field(server: TestClient, change: dict[str, Any], status: int, named: str) -> None:
    answer = server.post("/generate", json={**body(1), **change})
    assert answer.status_code == status
    assert named in json.dumps(answer.json()["detail"])
    assert server.get("/health").json()["inflight"] == 0


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"temperature": 0}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature_escalation": 0.5}, "temperature_escalation"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 0.5, "mask_p": 0.5}, "mask_p"),
        ({"top_k": 5, "mask_k": 5}, "mask_k"),
        ({"mask_p": 1.0}, "mask_p"),
        ({"model_dim": 5}, "model_dim"),
        ({"mask_mode": "none"}, "mask_mode"),
        ({"mask_mode": "token"}, "mask_mode"),
        ({"num_candidates": 17}, "num_candidates"),
        ({"infill_probability": 0}, "infill_probability"),
        ({"bars_per_step": 6}, "bars_per_step"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_a_setting_out_of_range_is_named(server: TestClient, config: dict[str, Any], named: str) -> None:
    answer = server.post("/generate", json=body(1, config=config))
    assert answer.status_code == 422
    assert named in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "value", "status"),
    [
        (("tracks",), None, 422),
        (("tracks",), [], 422),
        (("tracks", 0, "bars"), [], 422),
        (("tracks", 0, "instrument"), "bass", 422),
        (("tracks", 0, "bars", 0, "ts_denominator"), 0, 422),
        (("tracks", 0, "bars", 0, "notes", 0), {"pitch": 60}, 400),
        (("tracks", 0, "bars", 0, "notes", 0, "pitch"), 128, 422),
        (("tracks", 0, "bars", 0, "notes", 0, "channel"), 1, 400),
        (("tracks", 0, "bars", 0, "notes", 0, "velocity"), "loud", 422),
        (("resolution",), 0, 422),
        (("tempo",), True, 422),
    ],
)
def test_a_faulty_score_names_the_field(server: TestClient, path: tuple[Any, ...], value: Any, status: int) -> None:
    sent = body(1)
    place: Any = sent["score"]
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    answer = server.post("/generate", json=sent)
    assert answer.status_code == status
    assert "score" in answer.json()["detail"]


def test_what_the_public_package_only_warns_of_is_accepted(server: TestClient) -> None:
    """Instruments outside 0..127, notes of no length, onsets past the bar."""
    sent = body(1)
    sent["score"]["tracks"][1]["instrument"] = 128
    sent["score"]["tracks"][0]["bars"][0]["notes"] = [note(60, 0, 0), note(62, 100), note(64, 4, -3)]
    answer = server.post("/generate", json=sent)
    assert answer.status_code == 200, answer.text
    tracks = answer.json()["score"]["tracks"]
    assert [track["instrument"] for track in tracks] == [33, 128]
    back = tracks[0]["bars"][0]["notes"]
    assert [(one["pitch"], one["onset_ticks"], one["duration_ticks"]) for one in back] == [
        (60, 0, 0), (62, 100, 12), (64, 4, 0),
    ]  # fmt: skip


def test_mask_and_kept_shares_that_go_together(server: TestClient) -> None:
    config = {"top_p": 0.9, "mask_p": 0.1, "top_k": 40, "mask_k": 2}
    assert server.post("/generate", json=body(1, config=config)).status_code == 200


def test_pages_about_the_endpoints_and_paths_that_are_not_there(server: TestClient) -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert server.get(path).status_code == 200
    assert server.get("/health/", follow_redirects=False).status_code == 307
    wrong = server.get("/generate")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert server.options("/generate").status_code == 405


def test_a_body_that_is_not_json(server: TestClient) -> None:
    assert server.post("/generate", content=b"{", headers={"content-type": "application/json"}).status_code == 422
    # As curl sends it unless told otherwise.
    form = {"content-type": "application/x-www-form-urlencoded"}
    for unsaid in ({}, form):
        answer = server.post("/generate", content=json.dumps(body(1)), headers=unsaid)
        assert answer.status_code == 422
        assert "Send it with the header Content-Type: application/json." in answer.json()["detail"][0]["msg"]
    infinite = json.dumps(body(1)).replace("600000", "Infinity")
    answer = server.post("/generate", content=infinite, headers={"content-type": "application/json"})
    assert (answer.status_code, "Infinity" in answer.json()["detail"]) == (422, True)
    assert server.get("/generate").status_code == 405
    assert server.get("/nowhere").status_code == 404


def test_a_request_can_be_cancelled_from_its_admission_on() -> None:
    with client() as server:
        sent = body(*range(2_000), num_bars=2_048, stream=True, request_id="long")
        answers: list[int] = []

        def cancel() -> None:
            while server.get("/health").json()["inflight"] == 0:
                time.sleep(0.01)
            answers.append(server.post("/generate/long/cancel", json={}).status_code)

        canceller = threading.Thread(target=cancel)
        canceller.start()
        with server.stream("POST", "/generate", json=sent) as answer:
            got = frames(answer.iter_lines())
        canceller.join()
        assert answers == [200]
        assert got[-1]["type"] == "cancelled"
        response = got[-1]["response"]
        before = [{**one, "delta": 0} for one in score(2_048)["tracks"][0]["bars"][1_999]["notes"]]
        assert response["score"]["tracks"][0]["bars"][1_999]["notes"] == before, "a bar not reached lost its notes"
        late = server.post("/generate/long/cancel", json={})
        assert (late.status_code, "long" in late.json()["detail"]) == (404, True)
        assert server.get("/health").json()["inflight"] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_requests_that_wait_are_answered_at_once_when_they_are_cancelled(*, stream: bool) -> None:
    made = serving.app()
    release = threading.Event()
    with TestClient(made, base_url="http://127.0.0.1:3456") as server, ThreadPoolExecutor(2) as clients:
        made.state.pools[0].submit(release.wait, 60)
        try:
            sent = body(1, 2, request_id="same", stream=stream)
            both = [clients.submit(server.post, "/generate", json=sent) for _ in range(2)]
            until = time.monotonic() + 20
            while server.get("/health").json()["inflight"] < 2:
                assert time.monotonic() < until
                time.sleep(0.01)
            assert server.post("/generate/same/cancel").status_code == 200
            for waiting in both:
                text = waiting.result(20).text
                got = frames(iter(text.splitlines()))[-1]["response"] if stream else json.loads(text)
                assert got["status"] == "cancelled"
                assert [one["pitch"] for one in got["score"]["tracks"][0]["bars"][1]["notes"]] == [61, 64]
            assert server.get("/health").json()["inflight"] == 0
        finally:
            release.set()


@pytest.mark.parametrize("stream", [False, True])
def test_any_printable_text_names_a_request(server: TestClient, *, stream: bool) -> None:
    named = server.post("/generate", json=body(1, request_id="Übung 日/1", stream=stream))
    assert named.status_code == 200
    assert named.headers["x-request-id"] == "%C3%9Cbung %E6%97%A5/1"
    got = frames(iter(named.text.splitlines()))[-1]["response"] if stream else named.json()
    assert got["request_id"] == "Übung 日/1"
    for name in ("a\r\nset-cookie: b", "x" * 257):
        refused = server.post("/generate", json=body(1, request_id=name, stream=stream))
        assert (refused.status_code, refused.json()["detail"][:10]) == (422, "request_id")
    assert server.get("/health").json()["inflight"] == 0


def test_a_stream_whose_client_leaves_before_the_first_frame_ends() -> None:
    made, release = serving.app(), threading.Event()
    made.state.pools[0].submit(release.wait, 60)
    content = json.dumps(body(1, 2, stream=True)).encode()
    arriving = iter([{"type": "http.request", "body": content}])
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": "/generate", "raw_path": b"/generate", "query_string": b"", "headers": headers,
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return next(arriving, {"type": "http.disconnect"})

    async def send(_: Any) -> None:
        pass

    try:
        asyncio.run(made(scope, receive, send))
        assert made.state.generations.in_flight == 0
    finally:
        release.set()


def test_a_request_that_cannot_be_queued_gives_its_place_back() -> None:
    made = serving.app()
    made.state.pools[0].shutdown()
    server = TestClient(made, base_url="http://127.0.0.1:3456", raise_server_exceptions=False)
    assert server.post("/generate", json=body(1)).status_code == 500
    assert made.state.generations.in_flight == 0


def test_a_full_queue_says_when_to_come_back() -> None:
    with client(max_queue=1) as server:
        done: list[str] = []

        def first() -> None:
            long = body(*range(2_000), num_bars=2_048, request_id="first")
            done.append(server.post("/generate", json=long).json()["status"])

        running = threading.Thread(target=first)
        running.start()
        while server.get("/health").json()["inflight"] == 0:
            time.sleep(0.01)
        busy = server.post("/generate", json=body(1))
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "5")
        while server.post("/generate/first/cancel").status_code == 404:
            time.sleep(0.01)
        running.join()
        assert done == ["cancelled"]
        assert server.post("/generate", json=body(1)).status_code == 200
        metrics = server.get("/metrics").text
        assert 'outcome="cancelled"} 1' in metrics
        steps = re.search(r'midigpt_model_steps_total\{model="yellow"\} (\d+)', metrics)
        assert steps is not None
        assert int(steps[1]) > 0


def test_a_generation_that_takes_too_long_is_cancelled() -> None:
    with client(max_generation_seconds=0.3) as server:
        assert server.post("/generate", json=body(*range(2_000), num_bars=2_048)).json()["status"] == "cancelled"


def test_only_this_machine_and_pages_that_are_allowed_are_answered() -> None:
    with client(allowed_origins=("https://daw.example",), max_body_bytes=4_000) as server:
        assert server.get("/health", headers={"host": "evil.example"}).status_code == 421
        assert server.get("/health", headers={"host": "LocalHost:3456"}).status_code == 200
        assert server.get("/health", headers={"host": "[::1]:3456"}).status_code == 200
        assert server.get("/health", headers={"origin": "http://["}).status_code == 403
        assert server.get("/health", headers={"origin": "null"}).status_code == 403
        assert server.get("/health", headers={"origin": "https://evil.example"}).status_code == 403
        assert server.get("/health", headers={"origin": "http://127.0.0.1:3456"}).status_code == 200
        allowed = server.get("/health", headers={"origin": "https://daw.example"})
        assert allowed.headers["access-control-allow-origin"] == "https://daw.example"
        asked = {"origin": "https://daw.example", "access-control-request-method": "POST"}
        assert server.options("/generate", headers=asked).status_code == 204
        assert server.post("/generate", json=body(1, num_bars=100)).status_code == 413

        def chunks() -> Iterator[bytes]:
            yield from [b" " * 1_000] * 8

        unsaid = server.post("/generate", content=chunks(), headers={"content-type": "application/json"})
        assert unsaid.status_code == 413


def test_requests_of_one_model_are_written_in_one_batch_with_the_music_that_they_have_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = SharedReader._carry_out

    def slowly(reader: SharedReader, steps: list[Any]) -> None:
        """Give the other requests time to arrive, as reading a large model does."""
        time.sleep(0.005)
        read(reader, steps)

    def sent(number: int) -> dict[str, Any]:
        more = {"num_candidates": 2} if number % 4 == 3 else {}
        return body(*range(number % 3 + 2), config={"seed": number, **more}, stream=number % 4 == 1)

    def music(text: str) -> Any:
        got = frames(iter(text.splitlines()))[-1]["response"] if text.startswith(("data", ":")) else json.loads(text)
        return [one["score"] for one in got["candidates"]] if "candidates" in got else got["score"]

    with client() as server:
        alone = [music(server.post("/generate", json=sent(number)).text) for number in range(12)]
    monkeypatch.setattr(SharedReader, "_carry_out", slowly)
    with client(parallel=6) as server, ThreadPoolExecutor(6) as clients:
        together = clients.map(lambda number: music(server.post("/generate", json=sent(number)).text), range(12))
        assert list(together) == alone
        counts = dict(re.findall(r'midigpt_model_(\w+)_total\{model="yellow"\} (\d+)', server.get("/metrics").text))
        assert int(counts["steps"]) > 1.5 * int(counts["batches"])


def test_models_take_turns_apart_from_one_another() -> None:
    with client(("yellow", "expressive")) as server:
        long = threading.Thread(
            target=lambda: server.post("/generate", json=body(*range(2_000), num_bars=2_048, request_id="slow"))
        )
        long.start()
        while server.get("/health").json()["inflight"] == 0:
            time.sleep(0.01)
        other = server.post("/generate", json=body(1, model="expressive")).json()
        assert other["model"] == "expressive"
        assert server.get("/health").json()["inflight"] == 1, "the slow one has ended: choose a longer one"
        server.post("/generate/slow/cancel")
        long.join()


def test_the_music_does_not_depend_on_what_runs_beside_it() -> None:
    with client(("yellow", "expressive")) as server:
        alone = server.post("/generate", json=body(1, 2)).json()["score"]
        other = threading.Thread(target=lambda: server.post("/generate", json=body(0, 1, model="expressive")))
        other.start()
        assert server.post("/generate", json=body(1, 2)).json()["score"] == alone
        other.join()


def test_app_is_made_without_a_network_or_a_folder() -> None:
    assert serving.app().title == "midigpt"


def test_novel_music_needs_the_bars_next_to_the_bundle(server: TestClient, tmp_path: Path) -> None:
    refused = server.post("/generate", json=body(1, config={"novel": True}))
    assert (refused.status_code, "config.novel" in refused.json()["detail"]) == (422, True)

    settings = ModelSettings(id="small", checkpoint=small_bundle(tmp_path))
    assert Model.load(settings).engine.known_bars is None
    CopyIndex(corpus="00" * 32, pieces="00" * 16, sample=1.0, fingerprints=np.zeros(0, np.uint64)).save(
        tmp_path / "copies.npy"
    )
    models = Models([Model.load(settings)])
    app = build_app(models, ServerSettings(models=[settings]), lambda: None)
    with TestClient(app, base_url="http://127.0.0.1:3456") as opened:
        assert opened.post("/generate", json=body(1, config={"novel": 1})).json()["status"] == "completed"
