"""Sessions of the clients for REAPER, request by request: what they read first, what they send, what they read back.

They read an answer as the functions here do: by these keys, in this order.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from support.serving import client, note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi.testclient import TestClient

PRESETS = ("yellow", "prism", "expressive")


@pytest.fixture(scope="module")
def server() -> Iterator[TestClient]:
    with client(PRESETS) as opened:
        yield opened


def family(attributes: dict[str, int]) -> str:
    """The model family, which the script tells from the names of the attributes."""
    if "nomml" in attributes:
        return "expressive"
    return "prism" if "key_signature" in attributes else "yellow"


def levels(of: str, *, drums: bool) -> tuple[dict[str, int], dict[str, int]]:
    """What the script sends as ``attributes`` and, for each target bar, ``bar_attributes``."""
    if of == "yellow":
        track = {"note_density": 5} if drums else {"min_polyphony": 1, "max_polyphony": 3,
                                                  "min_note_duration": 1, "max_note_duration": 4}  # fmt: skip
        return track, {}
    track = {"key_signature": 0, "pitch_range": 2, "silence_proportion": 1, "min_note_duration": 1,
             "max_note_duration": 4, **({"nomml": 2} if of == "expressive" else {})}  # fmt: skip
    if drums:
        return {}, {"bar_note_density": 5}
    return track, {"bar_min_polyphony": 1, "bar_max_polyphony": 3, "pitch_class_set": 1}


def song(resolution: int) -> dict[str, Any]:
    """Two items of a project in the script's form: a bass and drums, whose program it sends as 0."""
    bass = [{"ts_numerator": 4, "ts_denominator": 4, "notes": [{**note(40 + bar, 0, resolution), "delta": 0}]}
            for bar in range(4)]  # fmt: skip
    drums = [{"ts_numerator": 4, "ts_denominator": 4, "notes": [
        {**note(36, beat * resolution, 1, 100), "delta": 0} for beat in range(4)]} for _ in range(4)]  # fmt: skip
    return {
        "resolution": resolution, "tempo": 500_000, "tracks": [
            {"instrument": 33, "track_type": "melodic", "bars": bass},
            {"instrument": 0, "track_type": "drum", "bars": drums},
        ],
    }  # fmt: skip


def prompts(of: str, bars: list[int], known: dict[str, int]) -> list[dict[str, Any]]:
    made = []
    for number, drums in enumerate((False, True)):
        track, bar = levels(of, drums=drums)
        made.append(
            {
                "id": number, "bars": [] if drums else bars, "autoregressive": False, "ignore": False, "mask_bars": [],
                "attributes": {} if drums else {name: level for name, level in track.items() if name in known},
                "bar_attributes": {} if drums else {
                    str(one): {name: level for name, level in bar.items() if name in known} for one in bars
                },
            }
        )  # fmt: skip
    return made


def config(mask_mode: str, **more: Any) -> dict[str, Any]:
    return {
        "temperature": 1.0, "model_dim": 4, "bars_per_step": 1, "tracks_per_step": 1, "polyphony_hard_limit": 6,
        "density_hard_limit": 18, "max_attempts": 3, "temperature_escalation": 1.0, "top_p": 0.95, "top_k": 0,
        "mask_p": 0.0, "mask_k": 0, "mask_mode": mask_mode, "novelty_check": True, "silence_check": True,
        "shuffle": True, **more,
    }  # fmt: skip


def written_back(score: dict[str, Any], selected: dict[int, list[int]]) -> list[list[int]]:
    """What the script puts into the items: pitch, velocity, onset and duration in quarters."""
    resolution = score["resolution"]
    return [
        [one["pitch"], one["velocity"], one["onset_ticks"] / resolution, one["duration_ticks"] / resolution]
        for track, bars in selected.items()
        for bar in bars
        for one in score["tracks"][track]["bars"][bar]["notes"]
    ]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("autoregressive", [False, True])
def test_the_script_with_sliders(server: TestClient, preset: str, *, autoregressive: bool) -> None:
    # It names no model: each family is the default of a server of its own, here the model is the one asked for.
    info = server.get("/info", params={"model": preset}).json()
    assert info["checkpoint"] == f"{preset}.pt"
    assert family(info["attributes"]) == preset
    mask_mode = "token" if info["capabilities"]["supports_token_mask"] else "attention"
    resolution = info.get("resolution", 12)
    bars = [0, 1, 2, 3] if autoregressive else [1, 2]
    tracks = prompts(preset, bars, info["attributes"])
    tracks[0]["autoregressive"] = autoregressive
    sent = {"score": song(resolution), "request": {"tracks": tracks, "config": config(mask_mode)}}
    started = time.monotonic()
    answer = server.post("/generate", json={**sent, "model": preset})
    assert answer.status_code == 200, answer.text
    assert time.monotonic() - started < 60
    score = answer.json()["score"]
    assert len(score["tracks"]) == 2
    notes = written_back(score, {0: bars})
    assert notes
    assert all(0 <= pitch < 128 and 0 < velocity < 128 and 0 <= onset < 4 for pitch, velocity, onset, _ in notes)
    outside = {0: [bar for bar in range(4) if bar not in bars], 1: [0, 1, 2, 3]}
    assert written_back(score, outside) == written_back(sent["score"], outside)


def test_a_slider_at_zero_is_an_error_with_its_text(server: TestClient) -> None:
    """The slider of top_p reaches 0.0."""
    tracks = prompts("yellow", [1], {})
    answer = server.post("/generate", json={"score": song(12), "request": {
        "tracks": tracks, "config": config("attention", top_p=0.0, seed=4)}})  # fmt: skip
    assert answer.status_code == 422
    assert "top_p" in answer.json()["detail"]


class Dashboard:
    """The dashboard's calls."""

    def __init__(self, server: TestClient) -> None:
        self.server = server
        self.model: str | None = None
        self.reachable = False

    def refresh(self) -> None:
        info = self.server.get("/info", params={} if self.model is None else {"model": self.model})
        self.reachable = info.status_code == 200
        if not self.reachable:
            return
        self.info = info.json()
        listed = self.server.get("/models").json()
        self.picker = [one["id"] for one in listed["models"]]
        self.model = self.model or listed["default_model"]

    def run(self, controls: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """What the answer is made of for the dashboard: of a stream its ``response`` or ``error``."""
        self.refresh()
        candidates = more.get("num_candidates", 1)
        stream = self.info["capabilities"]["supports_streaming"] and candidates == 1
        self.request_id = uuid.uuid4().hex
        tracks = prompts("yellow", [1, 2], {})
        tracks[0]["controls"] = controls or {}
        settings: dict[str, Any] = {**config("attention"), **more}
        sent = {
            "score": song(self.info["resolution"]),
            "request": {"tracks": tracks, "config": settings},
            "request_id": self.request_id,
            **({"model": self.model} if self.model else {}),
            **({"stream": True} if stream else {}),
        }
        if not stream:
            return dict(self.server.post("/generate", json=sent).json())
        self.counted = 0
        with self.server.stream("POST", "/generate", json=sent) as answer:
            for line in answer.iter_lines():
                if not line.startswith("data:"):
                    continue
                frame = json.loads(line[5:].strip())
                if frame["type"] == "notes":
                    self.counted += len(frame["notes"])
                elif frame["type"] in ("done", "cancelled"):
                    return dict(frame["response"])
                elif frame["type"] == "error":
                    return {"error": frame["error"]}
        pytest.fail("a stream that ends without its last frame is a failure")


def test_the_dashboard(server: TestClient) -> None:
    dashboard = Dashboard(server)
    dashboard.refresh()
    assert (dashboard.model, dashboard.picker) == ("yellow", list(PRESETS))
    for key in ("supports_pitch_mask", "supports_remix", "supports_streaming", "pitch_mask_scale_presets"):
        assert key in dashboard.info["capabilities"]
    response = dashboard.run()
    assert response["request_id"] == dashboard.request_id
    assert response["status"] == "completed"
    assert dashboard.counted >= len(written_back(response["score"], {0: [1, 2]})) > 0
    tokens = response["tokens"]
    assert set(tokens) >= {"context_tokens", "generated_tokens", "max_context_tokens", "context_utilization",
                           "tokens_per_second", "truncated"}  # fmt: skip
    assert re.fullmatch(r"\d+", str(response["seed"]))
    dashboard.model = "gone"
    dashboard.refresh()
    assert not dashboard.reachable


def test_the_dashboard_asks_for_candidates(server: TestClient) -> None:
    got = Dashboard(server).run(num_candidates=3, seed=40)
    assert got["base_seed"] == 40
    assert [one["seed"] for one in got["candidates"]] == [40, 41, 42]
    for one in got["candidates"]:
        assert set(one) == {"score", "seed", "gen_count", "error", "truncated"}
        assert one["gen_count"] > 0
    assert got["timing"]["gen_count"] == sum(one["gen_count"] for one in got["candidates"])
    assert got["summary"] == {"requested": 3, "succeeded": 3, "failed": 0, "failures": []}


def test_the_dashboard_cancels_and_waits_for_the_original_call() -> None:
    with client() as server:
        long = song(12)
        for track in long["tracks"]:
            track["bars"] = track["bars"] * 400
        request_id = uuid.uuid4().hex
        sent = {
            "score": long,
            "request": {"tracks": prompts("yellow", list(range(1_600)), {}), "config": config("attention")},
            "request_id": request_id,
        }
        answers: list[dict[str, Any]] = []
        call = threading.Thread(target=lambda: answers.append(server.post("/generate", json=sent).json()))
        call.start()
        while server.get("/health").json()["inflight"] == 0:
            time.sleep(0.01)
        cancelled = server.post(f"/generate/{request_id}/cancel", json={})
        assert (cancelled.status_code, cancelled.json()) == (200, {"request_id": request_id, "status": "cancelling"})
        call.join()
        (answer,) = answers
        assert answer["status"] == "cancelled"
        # It writes all bars back: those that are not complete must have their old notes.
        assert written_back(answer["score"], {0: [1_599], 1: [7]}) == written_back(long, {0: [1_599], 1: [7]})
        again = server.post(f"/generate/{request_id}/cancel", json={})
        assert again.status_code == 404
        assert f"no in-flight request with id '{request_id}'" in again.json()["detail"]


#: The bass of the exchanges: a note in each bar but the third.
_BASS: dict[str, Any] = {
    "resolution": 12, "tempo": 600000, "tracks": [{"instrument": 33, "track_type": "melodic", "bars": [
        {"notes": [{"pitch": 40, "velocity": 80, "onset_ticks": 0, "duration_ticks": 24}]},
        {"notes": [{"pitch": 45, "velocity": 80, "onset_ticks": 0, "duration_ticks": 24}]}, {"notes": []},
        {"notes": [{"pitch": 40, "velocity": 80, "onset_ticks": 0, "duration_ticks": 48}]}]}],
}  # fmt: skip
_ANSWER = ["request_id", "model", "status", "score", "seed", "generated_bars", "dropped_context", "timing", "tokens",
           "attempts"]  # fmt: skip
_TOKENS = ["context_tokens", "generated_tokens", "peak_context_tokens", "max_context_tokens", "context_utilization",
           "tokens_per_second", "truncated"]  # fmt: skip


def test_an_exchange_with_a_rhythm_and_two_pitch_classes(server: TestClient) -> None:
    """Two notes on a given rhythm in A and E."""
    sent = {
        "score": _BASS,
        "request": {"tracks": [{"id": 0, "bars": [2], "controls": {
            "pitch_mask": {"pitch_classes": [4, 9], "shape": {"type": "normal", "mean": 43, "std": 5}},
            "rhythm_mask": {"positions": [{"pos": 0}, {"pos": 24}]}}}],
            "config": {"model_dim": 4, "seed": 11, "mask_mode": "attention"}},
        "request_id": "ex-1",
    }  # fmt: skip
    answer = server.post("/generate", json=sent)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == "ex-1"
    got = answer.json()
    assert list(got) == _ANSWER
    assert (got["request_id"], got["model"], got["status"], got["seed"]) == ("ex-1", "yellow", "completed", 11)
    assert (got["generated_bars"], got["dropped_context"], got["attempts"]) == ({"0": [2]}, [], 1)
    score = got["score"]
    assert (score["resolution"], score["tempo"]) == (12, 600000), "untouched: the public package answers at 1,920"
    (track,) = score["tracks"]
    assert (track["instrument"], track["track_type"]) == (33, "melodic")
    for number, bar in enumerate(track["bars"]):
        assert (bar["ts_numerator"], bar["ts_denominator"], bar["future"]) == (4, 4, False)
        if number != 2:
            expected = [{**one, "delta": 0} for one in _BASS["tracks"][0]["bars"][number]["notes"]]
            assert bar["notes"] == expected
    written = track["bars"][2]["notes"]
    assert [one["onset_ticks"] for one in written] == [0, 24]
    assert {one["pitch"] % 12 for one in written} <= {4, 9}
    assert list(got["timing"]) == ["model_forward_s", "encode_s", "decode_s", "gen_count"]
    assert list(got["tokens"]) == _TOKENS
    assert got["tokens"]["generated_tokens"] == got["timing"]["gen_count"] > 0
    assert (got["tokens"]["max_context_tokens"], got["tokens"]["truncated"]) == (1024, False)


def test_an_exchange_that_streams_a_remix_of_two_bars(server: TestClient) -> None:
    """Steps in a random order; the drums come without an instrument, the last two bars are empty."""

    def note(pitch: int, onset: int, velocity: int = 80) -> dict[str, int]:
        return {"pitch": pitch, "velocity": velocity, "onset_ticks": onset, "duration_ticks": 12}

    melody = [{"notes": [note(60, 0), note(64, 0)]}, {"notes": [note(62, 12)]}, {"notes": [note(65, 0)]}, {}]
    sent = {
        "score": {"resolution": 12, "tracks": [
            {"instrument": 0, "track_type": "melodic", "bars": melody},
            {"track_type": "drum", "bars": [{"notes": [note(36, 0, 100)]}] * 4}]},
        "request": {"tracks": [{"id": 0, "bars": [0, 1], "controls": {"remix": {"amount": 0.5, "mode": "pitch"}}},
                               {"id": 1, "bars": []}],
                    "config": {"seed": 3, "shuffle": True}},
        "request_id": "ex-2", "stream": True,
    }  # fmt: skip
    with server.stream("POST", "/generate", json=sent) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["x-request-id"] == "ex-2"
        frames = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    *shown, last = frames
    assert {frame["type"] for frame in shown} <= {"notes", "progress"}
    streamed = [one for frame in shown if frame["type"] == "notes" for one in frame["notes"]]
    assert all(set(one) == {"track", "bar", "pitch", "onset_ticks", "duration_ticks", "velocity"} for one in streamed)
    assert all(frame["progress"]["attempt"] == 1 for frame in shown), "choose another seed"
    assert [(one["onset_ticks"], one["duration_ticks"], one["velocity"]) for one in streamed if one["bar"] == 0] == [
        (0, 12, 80), (0, 12, 80),
    ]  # fmt: skip
    assert [(one["onset_ticks"], one["duration_ticks"], one["velocity"]) for one in streamed if one["bar"] == 1] == [
        (12, 12, 80),
    ]  # fmt: skip
    assert last["type"] == "done"
    response = last["response"]
    assert list(response) == _ANSWER
    assert (response["request_id"], response["model"], response["status"], response["seed"]) == (
        "ex-2", "yellow", "completed", 3,
    )  # fmt: skip
    assert (response["generated_bars"], response["dropped_context"]) == ({"0": [0, 1]}, [])
    # Half of three notes, and a half is rounded to the even number: two. A drawn note may get its old pitch again.
    before = [60, 64, 62]
    after = [one["pitch"] for bar in (0, 1) for one in response["score"]["tracks"][0]["bars"][bar]["notes"]]
    assert 0 < sum(one != other for one, other in zip(before, after, strict=True)) <= 2
    assert response["score"]["tempo"] == 500000


def test_the_dashboard_asks_for_scales_and_remixes(server: TestClient) -> None:
    dashboard = Dashboard(server)
    shape = {"type": "uniform", "min": 36, "max": 60}
    masks: list[dict[str, Any]] = [
        {"scale": "dorian", "root": 2, "shape": shape},
        {"pitch_classes": [0, 7], "shape": shape},
    ]
    for mask, allowed in zip(masks, ({2, 4, 5, 7, 9, 11, 0}, {0, 7}), strict=True):
        response = dashboard.run({"pitch_mask": mask}, seed=5)
        pitches = [note[0] for note in written_back(response["score"], {0: [1, 2]})]
        assert pitches
        assert all(36 <= pitch <= 60 and pitch % 12 in allowed for pitch in pitches)
    old = song(12)
    for mode in ("pitch", "full"):
        response = dashboard.run({"remix": {"amount": 0.5, "mode": mode}}, seed=5, tracks_per_step=1)
        new = written_back(response["score"], {0: [1, 2]})
        assert [note[2] for note in new] == [note[2] for note in written_back(old, {0: [1, 2]})]
    # The slider of the amount reaches 0.0.
    refused = dashboard.run({"remix": {"amount": 0.0, "mode": "pitch"}}, num_candidates=2)
    assert "amount is 0" in refused["detail"]


def test_an_exchange_of_the_public_package(server: TestClient) -> None:
    """Two candidates of one bar between others, at most one note each."""
    sent = {
        "score": _BASS,
        "request": {"tracks": [{"id": 0, "bars": [2]}], "config": {"seed": 11, "num_candidates": 2,
                                                                  "density_hard_limit": 1}},
    }  # fmt: skip
    got = server.post("/generate", json=sent).json()
    assert list(got) == ["request_id", "model", "status", "base_seed", "generated_bars", "dropped_context",
                         "candidates", "summary", "timing", "tokens"]  # fmt: skip
    assert re.fullmatch("[0-9a-f]{32}", got["request_id"])
    assert (got["model"], got["status"], got["base_seed"], got["generated_bars"]) == (
        "yellow", "completed", 11, {"0": [2]},
    )  # fmt: skip
    for number, one in enumerate(got["candidates"]):
        assert (one["seed"], one["error"], one["truncated"]) == (11 + number, None, False)
        bars = one["score"]["tracks"][0]["bars"]
        assert [len(bar["notes"]) for bar in bars] == [1, 1, 1, 1]
        assert one["score"]["tempo"] == 600000
    assert got["summary"] == {"requested": 2, "succeeded": 2, "failed": 0, "failures": []}
    assert set(got["timing"]) == {"model_forward_s", "encode_s", "decode_s", "gen_count"}
    assert min(got["timing"].values()) > 0
    assert got["tokens"]["peak_context_tokens"] > got["tokens"]["context_tokens"]


def test_an_exchange_that_is_cancelled_between_two_frames() -> None:
    """A stream, a cancel of another call in between, the last frame, and a cancel that is too late."""
    with client() as server:
        long = song(12)
        for track in long["tracks"]:
            track["bars"] = track["bars"] * 400
        sent = {"score": long, "request": {"tracks": [{"id": 0, "bars": list(range(1_600))}, {"id": 1, "bars": []}],
                "config": {"seed": 1}}, "request_id": "ex-3", "stream": True, "model": "yellow"}  # fmt: skip
        cancels: list[Any] = []

        def cancel() -> None:
            while server.get("/health").json()["inflight"] == 0:
                time.sleep(0.01)
            time.sleep(0.5)
            cancels.append(server.post("/generate/ex-3/cancel", json={}).json())

        other = threading.Thread(target=cancel)
        other.start()
        with server.stream("POST", "/generate", json=sent) as answer:
            frames = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
        other.join()
        assert cancels == [{"request_id": "ex-3", "status": "cancelling"}]
        assert {frame["type"] for frame in frames[:-1]} <= {"notes", "progress"}
        assert frames[-1]["type"] == "cancelled"
        response = frames[-1]["response"]
        assert (response["request_id"], response["model"], response["status"]) == ("ex-3", "yellow", "cancelled")
        assert server.post("/generate/ex-3/cancel").status_code == 404
