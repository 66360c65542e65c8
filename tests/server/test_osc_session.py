"""A session over OSC, message by message."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import Any

import pytest
from midigpt_server.osc.server import OscServer
from midigpt_server.osc.session import LiveSession
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from support.inference import engine

WAIT_S = 60


class Client:
    """Sends messages and keeps what comes back."""

    def __init__(self, preset: str = "yellow") -> None:
        self.got: list[tuple[Any, ...]] = []
        self._changed = threading.Condition()
        self.session = LiveSession(engine(preset), self._take)

    def _take(self, address: str, *arguments: Any) -> None:
        with self._changed:
            self.got.append((address, *arguments))
            self._changed.notify_all()

    def send(self, address: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Send a message; returns what was answered at once."""
        before = len(self.got)
        self.session.handle(address, *arguments)
        return self.got[before:]

    def wait(self, *wanted: Any, count: int = 1) -> None:
        """Until ``count`` messages that begin with ``wanted`` have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.all(*wanted)) >= count, WAIT_S), self.got

    def all(self, *wanted: Any) -> list[tuple[Any, ...]]:
        return [one for one in self.got if one[: len(wanted)] == wanted]

    def begin(self, **parameters: Any) -> None:
        """A drummer as track 7 and the agent, a bass, as track 3."""
        self.send("/session/init", "name")
        self.send("/track/create", 7, 0, 11, 0)
        self.send("/track/create", 3, 33, 10, 1)
        for name, value in {"density_hard_limit": 4, "sampling_seed": 5, **parameters}.items():
            assert self.send("/param/set", name, value) == []
        assert self.send("/session/start") == [("/session/started",)]

    def bar(self, number: int, numerator: int = 4, denominator: int = 4) -> list[tuple[Any, ...]]:
        for beat in range(4):
            self.send("/note", 7, 36, 100, beat / 4, 0.1, number)
        return self.send("/bar/end", number, numerator, denominator)


def test_a_session_begins_with_what_the_model_can_do() -> None:
    client = Client()
    first, second = client.send("/session/init", "x")
    assert first[0] == "/capabilities"
    assert json.loads(first[1]) == {
        "tension": False, "note_density": True, "min_polyphony": True, "max_polyphony": True,
        "min_note_duration": True, "max_note_duration": True, "supports_token_mask": False,
        "supports_attention_mask": True, "supports_attention_approx": True, "supports_attention_skip": True,
        "supports_remove": True,
    }  # fmt: skip
    assert second == ("/session/ready",)


def test_the_agent_writes_a_bar_ahead_of_the_playhead() -> None:
    client = Client()
    client.begin()
    for number in range(7):
        client.bar(number)
        if number >= 2:
            client.wait("/status", "ready", count=number - 1)
    assert [one[2] for one in client.all("/generated/open")] == [4, 5, 6, 7, 8]
    assert not client.all("/error")
    states = [json.loads(one[1]) for one in client.all("/prompt/state")]
    assert states[0] == {
        "target_bar": 4, "start_bar": 0, "end_bar": 8, "tracks": [
            {"id": 7, "is_agent": False, "states": ["C", "C", "C", "A", "A", "A", "A", "A"]},
            {"id": 3, "is_agent": True, "states": ["C", "C", "C", "C", "T", "A", "A", "A"]},
        ],
    }  # fmt: skip
    assert (states[-1]["target_bar"], states[-1]["start_bar"], states[-1]["end_bar"]) == (8, 1, 9)
    for _, track, bar, count in client.all("/generated/open"):
        notes = client.all("/generated/note", track, bar)
        assert (track, len(notes)) == (3, count)
        assert 0 < count <= 4
        assert all(0 <= onset <= 0.9999 and 0.0001 <= duration <= 1 for *_, onset, duration in notes)
        assert client.all("/generated/close", 3, bar)
        (described,) = client.all("/generated/features", 3, bar)
        assert described[3] == count / 4
        assert described[4] == pytest.approx(sum(note[3] for note in notes) / count)
    order = [one[0] for one in client.got if one[0].startswith(("/status", "/prompt", "/generated", "/sampled"))][:9]
    assert order[:3] == ["/status", "/prompt/state", "/generated/open"]
    attrs = json.loads(client.all("/sampled/attrs")[0][1])
    assert (attrs["start_bar"], attrs["end_bar"]) == (4, 5)
    assert set(attrs["attrs"]) >= {"min_polyphony", "max_polyphony"}


def test_the_same_seed_plays_the_same() -> None:
    played = []
    for _ in range(2):
        client = Client()
        client.begin()
        for number in range(4):
            client.bar(number)
        client.wait("/status", "ready", count=2)
        played.append(client.all("/generated/note"))
    assert played[0] == played[1]


@pytest.mark.parametrize(
    ("parameters", "closed", "targets"),
    [
        ({"adapt_buffer": 0}, 5, [5, 6]),
        ({"lookahead_bars": 2}, 4, [4, 5, 6]),
        ({"buffer_bars": 2}, 3, [2, 3, 4]),
        ({"num_anticipated_bars": 2}, 3, [4, 5]),
    ],
)
def test_parameters_of_time_set_which_bars_are_written_when(
    parameters: dict[str, Any], closed: int, targets: list[int]
) -> None:
    client = Client()
    client.begin(**parameters)
    generations = 0
    for number in range(closed):
        generations += bool([one for one in client.bar(number) if one[0] == "/status"])
        client.wait("/status", "ready", count=generations)
    assert [one[2] for one in client.all("/generated/open")] == targets


@pytest.mark.parametrize(
    ("policy", "states", "start"),
    [
        ("a_empty", ["C"] * 7 + ["T"], 2),
        ("a_masked", ["A"] * 7 + ["T"], 2),
        ("b", ["T"] * 10, 0),
        ("b_collapse", ["T"] * 8, 2),
    ],
)
def test_the_agent_begins_as_the_policy_says(policy: str, states: list[str], start: int) -> None:
    client = Client()
    client.begin(warmup_policy=policy, model_dim=8, buffer_bars=8, adapt_buffer=0)
    for number in range(8):
        client.bar(number)
    client.wait("/status", "ready")
    state = json.loads(client.all("/prompt/state")[0][1])
    agent = next(track for track in state["tracks"] if track["is_agent"])
    assert (state["start_bar"], agent["states"]) == (start, states)
    assert [one[2] for one in client.all("/generated/open")] == [9]
    assert not client.all("/error")


def test_later_bars_of_the_player_are_hidden_and_ignored_tracks_are_left_out() -> None:
    played = []
    for more in (False, True):
        client = Client()
        client.begin()
        client.send("/track/create", 9, 0, 10, 0)
        client.send("/track/set_ignore", 9, 1)
        if more:
            client.send("/note", 9, 70, 100, 0.0, 1.0, 0)
            client.send("/note", 7, 40, 100, 0.5, 0.1, 3)
        for number in range(3):
            client.bar(number)
        client.wait("/status", "ready")
        played.append(client.all("/generated/note"))
        assert [track["id"] for track in json.loads(client.all("/prompt/state")[0][1])["tracks"]] == [7, 3]
    assert played[0] == played[1]


def test_parameters_that_hold_once() -> None:
    client = Client()
    client.begin()
    client.send("/param/set_once", "density_hard_limit", 1)
    for number in range(4):
        client.bar(number)
    client.wait("/status", "ready", count=2)
    first, second = client.all("/generated/open")
    assert first[3] == 1
    assert second[3] > 1
    assert client.send("/param/reset", "density_hard_limit") == []
    assert client.send("/param/reset_all") == []


def test_levels_are_asked_for() -> None:
    client = Client()
    client.begin()
    assert client.send("/attr/set", "max_polyphony", 3) == []
    assert client.send("/attr/set", "min_polyphony", 2) == []
    assert client.send("/attr/set", "min_polyphony", -1) == []
    client.bar(0)
    client.bar(1)
    client.bar(2)
    client.wait("/status", "ready")
    assert not client.all("/error")
    assert client.send("/attr/reset_all") == []


def test_stopping_ends_the_generation_and_a_new_session_is_not_disturbed() -> None:
    client = Client()
    client.begin(density_hard_limit=0)
    for number in range(3):
        client.bar(number)
    assert client.send("/session/stop") == [("/session/stopped",)]
    assert client.bar(3)[-1][:2] == ("/error", 1)
    sent = len(client.all("/generated/open"))
    client.begin()
    for number in range(3):
        client.bar(number)
    client.wait("/status", "ready")
    assert [one[2] for one in client.all("/generated/open")[sent:]] == [4]


def test_a_generation_that_takes_too_long_is_an_error_and_the_next_one_runs() -> None:
    client = Client()
    client.begin(density_hard_limit=0, num_anticipated_bars=7)
    client.send("/param/set_once", "gen_timeout", 0.001)
    for number in range(3):
        client.bar(number)
    client.wait("/status", "ready")
    (error,) = client.all("/error")
    assert error[1] == 5
    assert "longer than 0.001 s" in error[2]
    client.send("/param/set", "num_anticipated_bars", 1)
    client.bar(3)
    client.wait("/generated/close")
    client.session.close()


def test_one_generation_runs_and_one_waits() -> None:
    client = Client()
    client.begin(density_hard_limit=0, num_anticipated_bars=4)
    for number in range(8):
        client.bar(number)
    client.wait("/status", "ready", count=2)
    written = [json.loads(one[1])["target_bar"] for one in client.all("/prompt/state")]
    assert written[0] == 4
    assert 2 <= len(written) < 6, "eight bars ended at once, and each generation writes four"
    statuses = [one[1] for one in client.all("/status")]
    assert statuses[:4] == ["generating", "ready"] * 2


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (("/session/start",), 1, "RUNNING"),
        (("/note", 9, 60, 80, 0.0, 1.0, 0), 2, "track 9"),
        (("/track/create", 7, 0, 10, 0), 3, "track 7"),
        (("/param/set", "temprature", 1.0), 4, "temperature"),
        (("/param/set", "temperature", 9.0), 4, "from 0.1 to 5"),
        (("/param/set", "temperature", "hot"), 4, "'hot'"),
        (("/param/set", "mask_mode", "none"), 4, "attention_skip"),
        (("/param/set", "lookahead_bars", 1.5), 4, "whole number"),
        (("/param/set", "temperature"), 4, "takes 2 arguments"),
        (("/param/set", ["temperature"], 1.0), 4, "['temperature']"),
        (("/param/reset", "x"), 4, "'x'"),
        (("/param/reset", [1]), 4, "[1]"),
        (("/attr/set", ["note_density"], 1), 4, "['note_density']"),
        (("/track/param/set", 3, ["min_pitch"], 1), 4, "['min_pitch']"),
        (("/attr/set", "note_densty", 1), 4, "note_density"),
        (("/attr/set", "note_density", 10), 4, "10"),
        (("/track/param/set", 3, "volume", 1), 4, "min_pitch"),
        (("/track/param/set", 3, "min_pitch", 128), 4, "128"),
        (("/track/create", 8, 200, 10, 0), 4, "program is 200"),
        (("/track/create", 8, 0, 10, 1), 7, "track 3 is the agent"),
        (("/track/remove", 3), 1, "agent"),
        (("/track/remove", 44), 2, "44"),
        (("/track/set_ignore", 3, 1), 4, "agent"),
        (("/note", 3, 60, 80, 0.0, 1.0, 0), 8, "agent"),
        (("/note", 7, 160, 80, 0.0, 1.0, 0), 4, "pitch is 160"),
        (("/note", 7, 60, 80, 2.0, 1.0, 0), 4, "onset is 2"),
        (("/bar/end", 0, 4, 0), 4, "denominator is 0"),
        (("/bar/end", 0, 13, 2), 4, "13/2"),
        (("/bar/end", "x", 4, 4), 4, "bar is 'x'"),
        (("/nothing",), 4, "/nothing"),
    ],
)
def test_a_faulty_message_is_an_error_with_its_code(message: tuple[Any, ...], code: int, text: str) -> None:
    client = Client()
    client.begin()
    ((address, got, said),) = client.send(*message)
    assert (address, got) == ("/error", code)
    assert text in said


@pytest.mark.parametrize(
    ("tracks", "parameters", "code"),
    [
        ([], {}, 6),
        ([(3, 33, 10, 1)], {}, 2),
        ([(3, 33, 10, 1), (7, 0, 11, 0)], {"model_dim": 5}, 4),
        ([(3, 33, 10, 1), (7, 0, 11, 0)], {"model_dim": 4, "buffer_bars": 5}, 4),
        ([(3, 33, 10, 1), (7, 0, 11, 0)], {"model_dim": 4, "num_anticipated_bars": 5}, 4),
    ],
)
def test_a_session_that_cannot_start(
    tracks: list[tuple[int, int, int, int]], parameters: dict[str, Any], code: int
) -> None:
    client = Client()
    assert client.send("/session/start")[0][:2] == ("/error", 1)
    client.send("/session/init")
    for track in tracks:
        client.send("/track/create", *track)
    for name, value in parameters.items():
        client.send("/param/set", name, value)
    assert client.send("/session/start")[0][:2] == ("/error", code)


def test_bundles_with_a_later_time_and_broken_packets_hold_nothing_up() -> None:
    later = OscBundleBuilder(int(time.time()) + 3_600)
    later.add_content(OscMessageBuilder(address="/midigpt/session/init").build())
    wrong = OscMessageBuilder(address="/midigpt/nothing").build()
    with (
        contextlib.closing(OscServer(engine("yellow"), "127.0.0.1", 0)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own,
    ):
        own.settimeout(20)
        server.start()
        for packet in (later.build().dgram, b"\xff\x00garbage", b"/midigpt/\xff\x00\x00,\x00\x00\x00", wrong.dgram):
            own.sendto(packet, server.address)
        answers = [OscMessage(own.recv(65_536)).address for _ in range(3)]
    assert answers == ["/midigpt/capabilities", "/midigpt/session/ready", "/midigpt/error"]
