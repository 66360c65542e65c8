"""Playing along with a server in another process: every bar comes before it sounds."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from attrs import Factory, define
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from support.serving import small_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BARS = 16


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("bundle"))


@define
class Player:
    """A program that plays bars and hears the agent's."""

    port: int
    socket: socket.socket
    #: (when, address, arguments)
    heard: list[tuple[float, str, list[Any]]] = Factory(list)

    def send(self, address: str, *arguments: Any) -> None:
        message = OscMessageBuilder(address=f"/midigpt{address}")
        for argument in arguments:
            message.add_arg(argument)
        self.socket.sendto(message.build().dgram, ("127.0.0.1", self.port))

    def listen(self) -> None:
        while True:
            content = self.socket.recv(65_536)
            if not content:
                return
            message = OscMessage(content)
            self.heard.append((time.monotonic(), message.address, list(message.params)))

    def wait(self, address: str, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not any(one[1] == f"/midigpt{address}" for one in self.heard):
            assert time.monotonic() < until, self.heard
            time.sleep(0.005)

    def of(self, address: str) -> list[tuple[float, list[Any]]]:
        return [(when, arguments) for when, one, arguments in self.heard if one == f"/midigpt{address}"]


@contextmanager
def playing(bundle: Path) -> Iterator[Player]:
    command = [sys.executable, "-m", "midigpt", "serve", "--checkpoint", str(bundle), "--port", "0", "--osc", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        lines = iter(process.stderr)
        found = next(match for line in lines if (match := re.search(r"Listening for OSC on 127\.0\.0\.1:(\d+)", line)))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.bind(("127.0.0.1", 0))
            player = Player(int(found[1]), own)
            listener = threading.Thread(target=player.listen)
            listener.start()
            try:
                yield player
            finally:
                own.sendto(b"", own.getsockname())
                listener.join()
        process.terminate()
        assert process.wait(60) == -15
    finally:
        process.kill()
        process.communicate()


def late_bars(player: Player, seconds_per_bar: float) -> list[int]:
    """Play 16 bars in time; the agent's bars that were not complete when they began to sound."""
    player.send("/session/init", "a test")
    player.wait("/session/ready")
    player.send("/track/create", 0, 33, 10, 1)
    player.send("/track/create", 1, 0, 11, 0)
    player.send("/session/start")
    player.wait("/session/started")
    began = time.monotonic()
    for bar in range(BARS):
        for beat in range(4):
            player.send("/note", 1, 36 if beat % 2 == 0 else 38, 100, beat / 4, 0.1, bar)
        time.sleep(max(0.0, began + (bar + 1) * seconds_per_bar - time.monotonic()))
        player.send("/bar/end", bar, 4, 4)
    # The last one that is due is the bar after those played.
    time.sleep(seconds_per_bar)
    complete = {arguments[1]: when for when, arguments in player.of("/generated/close")}
    due = range(4, BARS + 1)
    return [bar for bar in due if complete.get(bar, float("inf")) > began + bar * seconds_per_bar]


def check_what_was_heard(player: Player) -> None:
    assert not player.of("/error")
    for _, (track, bar, count) in player.of("/generated/open"):
        notes = [arguments for _, arguments in player.of("/generated/note") if arguments[:2] == [track, bar]]
        assert len(notes) == count, f"notes of bar {bar} were lost"
    assert [arguments[1] for _, arguments in player.of("/generated/close")] == list(range(4, BARS + 2))


def test_sixteen_bars_are_answered_in_time(bundle: Path) -> None:
    """At 480 beats a minute, so that it takes eight seconds; the bars must come in the two seconds of 120."""
    with playing(bundle) as player:
        late_bars(player, 0.5)
        until = time.monotonic() + 20
        while len(player.of("/generated/close")) < BARS - 2 and time.monotonic() < until:
            time.sleep(0.01)
        player.send("/session/stop")
        player.wait("/session/stopped")
        closed = {bar: when for when, (_, bar) in player.of("/generated/close")}
        asked = [when for when, (state,) in player.of("/status") if state == "generating"]
        assert len(closed) == BARS - 2, player.heard
        assert all(when - begun < 2 for when, begun in zip(closed.values(), asked, strict=True))
        check_what_was_heard(player)


@pytest.mark.slow
def test_no_bar_is_late_at_120_beats_a_minute(bundle: Path) -> None:
    with playing(bundle) as player:
        assert late_bars(player, 2.0) == []
        check_what_was_heard(player)


def test_other_messages_and_broken_packets_end_nothing(bundle: Path) -> None:
    with playing(bundle) as player:
        player.socket.sendto(b"\xff\x00garbage", ("127.0.0.1", player.port))
        player.socket.sendto(b"/midigpt/session/init\x00\x00\x00,zz\x00", ("127.0.0.1", player.port))
        other = OscMessageBuilder(address="/another/program")
        player.socket.sendto(other.build().dgram, ("127.0.0.1", player.port))
        player.send("/nothing", 1)
        player.wait("/error")
        ((_, (code, text)),) = player.of("/error")
        assert (code, "/nothing" in text) == (4, True)
        player.send("/session/init")
        player.wait("/session/ready")
