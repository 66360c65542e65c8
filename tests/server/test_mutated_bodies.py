"""Bodies that are damaged in many ways: the answer is music or says what is wrong, and is never a failure."""

from __future__ import annotations

import copy
import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from support.serving import app, body

if TYPE_CHECKING:
    from collections.abc import Iterator

_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 5, 128, 2**31, 2**63, -(2**64), 10**400, 0.5, 1.0, -0.0, 1e-320, 1e308, "", "1",
    "auto", "\ud800", "a\r\nb", "é", "日", "a/b", "x" * 5_000, [], {}, [[]], [None], {"": 1}, {"\ud800": 1},
    {"0": {"x": 1}}, [1, 1], [10**9], ["1"],
]  # fmt: skip
_KEYS = (
    "id", "bars", "mask_bars", "ignore", "autoregressive", "attributes", "bar_attributes", "controls", "bar_controls",
    "notes", "future", "ts_numerator", "ts_denominator", "tempo", "resolution", "track_type", "instrument", "seed",
    "temperature", "top_p", "top_k", "mask_p", "mask_k", "mask_mode", "model_dim", "bars_per_step", "tracks_per_step",
    "max_attempts", "num_candidates", "context", "context_drop", "context_keep", "budget_margin", "ar_overlap",
    "min_overlap_bars", "plan_only", "infill_probability", "novelty_threshold", "novelty_check", "silence_check",
    "shuffle", "batch_attempts", "polyphony_hard_limit", "density_hard_limit", "temperature_escalation", "stream",
    "model", "request_id", "delta", "unknown", "\ud800", "pitch_mask", "pitches", "scale", "root", "pitch_classes",
    "shape", "min", "max", "mean", "std", "type", "rhythm_mask", "positions", "pos", "polyphony", "grid", "unit",
    "strength", "remix", "amount", "mode",
)  # fmt: skip
#: A prompt's controls, of each kind.
_CONTROLLED: dict[str, Any] = {
    "controls": {
        "pitch_mask": {"scale": "dorian", "root": 2, "shape": {"type": "normal", "mean": 60.0, "std": 12.0}},
        "rhythm_mask": {"positions": [{"pos": 0, "polyphony": 1}, {"pos": 24}]},
    },
    "bar_controls": {"1": {"rhythm_mask": {"grid": {"unit": "eighth", "strength": 0.5}}}},
}


@pytest.fixture(scope="module")
def server() -> Iterator[TestClient]:
    # Failures are answers here, not exceptions.
    with TestClient(app(), base_url="http://127.0.0.1:3456", raise_server_exceptions=False) as opened:
        yield opened


def places(value: Any) -> list[Any]:
    """All lists and objects in ``value``."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return [] if inner is None else [value, *(place for one in inner for place in places(one))]


def mutated(rng: random.Random) -> dict[str, Any]:
    sent: dict[str, Any] = body(1, config={"max_attempts": 1, "temperature": 1.0})
    if rng.random() < 0.5:
        sent["request"]["tracks"][0].update(copy.deepcopy(_CONTROLLED))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        # Most lists and objects are notes and bars; half of the mutations are of the others.
        place = rng.choice(places(sent) if rng.random() < 0.5 else [sent, *places(sent.get("request"))])
        value = copy.deepcopy(rng.choice(_VALUES))
        if isinstance(place, list):
            if place and rng.random() < 0.7:
                place[rng.randrange(len(place))] = value
            else:
                place.append(value)
        elif place and rng.random() < 0.6:
            key = rng.choice(sorted(place))
            if rng.random() < 0.2:
                del place[key]
            else:
                place[key] = value
        else:
            place[rng.choice(_KEYS)] = value
    return sent


def post(server: TestClient, content: bytes | str) -> Any:
    return server.post("/generate", content=content, headers={"content-type": "application/json"})


def check(server: TestClient, content: bytes | str) -> int:
    answer = post(server, content)
    shown = f"{answer.status_code} {answer.text[:300]} to {content[:1500]!r}"
    assert answer.status_code in (200, 400, 413, 422), shown
    if answer.headers["content-type"].startswith("text/event-stream"):
        assert '"type": "done"' in answer.text, shown
    elif answer.status_code != 200:
        assert answer.json()["detail"], shown
    assert server.get("/health").json()["inflight"] == 0, f"a place was lost: {shown}"
    return int(answer.status_code)


@pytest.mark.parametrize("count", [150, pytest.param(5_000, marks=pytest.mark.slow)])
def test_damaged_bodies_are_answered(server: TestClient, caplog: pytest.LogCaptureFixture, count: int) -> None:
    rng = random.Random(20)
    seen: dict[int, int] = {}
    for _ in range(count):
        status = check(server, json.dumps(mutated(rng)))
        seen[status] = seen.get(status, 0) + 1
    assert seen[200]
    assert seen[400]
    assert seen[422]
    assert not [record for record in caplog.records if record.exc_info or record.levelname == "ERROR"]


def test_damaged_bytes_are_answered(server: TestClient) -> None:
    rng = random.Random(21)
    whole = json.dumps(body(1)).encode()
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 3, 9))):
            content[rng.randrange(len(content))] = rng.randrange(256)
        check(server, bytes(content[: rng.choice((len(content), rng.randrange(len(content))))]))


@pytest.mark.parametrize("depth", [50, 400, 900, 3_000, 100_000])
@pytest.mark.parametrize("place", ["score", "request", "bars", "attributes"])
def test_a_deep_body_is_answered(server: TestClient, depth: int, place: str) -> None:
    deep = "[" * depth + "]" * depth
    sent = body(1)
    if place == "bars":
        sent["request"]["tracks"][0]["bars"] = "HERE"
    elif place == "attributes":
        sent["request"]["tracks"][0]["attributes"] = {"density": "HERE"}
    else:
        sent[place]["unknown"] = "HERE"
    check(server, json.dumps(sent).replace('"HERE"', deep))
