"""The endpoints of the studio: a file in, the same file out with other notes, and a page that trusts nothing else."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from midigpt_server.scores import Limits
from midigpt_server.settings import ServerSettings

from midigpt_core.score import Score
from midigpt_core.score.reading import MOST_BYTES
from support.serving import client
from support.songs import song

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

#: Pedals, the second tempo, the marker: what a score does not hold.
OTHERS = (bytes([0xB0, 64, 127]), (400_000).to_bytes(3, "big"), b"chorus")


@pytest.fixture(scope="module")
def server() -> TestClient:
    return client()


def read(server: TestClient, content: bytes, name: str = "song.mid") -> Any:
    answer = server.post(f"/studio/read?name={name}", content=content)
    assert answer.status_code == 200, answer.text
    return answer.json()


def export(server: TestClient, score: dict[str, Any], like: bytes | None) -> tuple[bytes, list[str]]:
    encoded = None if like is None else base64.b64encode(like).decode()
    answer = server.post("/studio/export", json={"score": score, "like": encoded})
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.json()["midi"]), answer.json()["remarks"]


def test_the_page_loads_nothing_from_elsewhere(server: TestClient) -> None:
    page = server.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<style" not in page.text
    assert re.findall(r"<script.*?>(.*?)</script>", page.text, re.DOTALL) == ["", ""]
    assert re.findall(r"<script.* src=\"(.*?)\">", page.text) == ["studio/early.js", "studio/app.js"]
    for name, kind in (
        ("early.js", "text/javascript"),
        ("app.js", "text/javascript"),
        ("studio.css", "text/css"),
        ("icon.svg", "image/svg+xml"),
    ):
        part = server.get(f"/studio/{name}")
        assert part.headers["content-type"].startswith(kind)
        assert part.headers["content-security-policy"] == policy
        assert "://" not in part.text.replace("http://www.w3.org/2000/svg", "")
    assert server.get("/studio/nothing.js").json()["detail"] == "the studio has no file 'nothing.js'."
    assert server.get("/studio/..%2Fapp.py").status_code == 404


def test_a_file_is_read_with_its_bars_and_names(server: TestClient) -> None:
    answer = read(server, song(6, (3, 4)))
    assert [track["instrument"] for track in answer["score"]["tracks"]] == [0, 33, 0]
    assert answer["track_names"] == ["Piano", "Bass", ""]
    assert answer["signatures"] == [[3, 4]] * 6
    assert answer["bar_quarters"] == [3.0] * 6
    assert answer["score"]["tracks"][0]["bars"][1]["notes"][0] == {
        "pitch": 62, "velocity": 80, "onset_ticks": 0, "duration_ticks": 340, "delta": 0,
    }  # fmt: skip


def test_what_is_not_changed_comes_back_byte_for_byte(server: TestClient) -> None:
    original = song()
    content, remarks = export(server, read(server, original)["score"], original)
    assert content == original
    assert remarks == []


def test_a_changed_bar_keeps_every_other_event(server: TestClient) -> None:
    original = song()
    score = read(server, original)["score"]
    score["tracks"][0]["bars"][2]["notes"] = [
        {"pitch": 90, "velocity": 70, "onset_ticks": 240, "duration_ticks": 120, "delta": 0}
    ]
    content, remarks = export(server, score, original)
    assert remarks == []
    assert [content.count(other) for other in OTHERS] == [original.count(other) for other in OTHERS]
    again = read(server, content)["score"]
    assert again == score


def test_bars_and_tracks_are_added_to_the_file(server: TestClient) -> None:
    original = song()
    score = read(server, original)["score"]
    empty = {"ts_numerator": 4, "ts_denominator": 4, "notes": []}
    note = {"pitch": 70, "velocity": 70, "onset_ticks": 0, "duration_ticks": 480, "delta": 0}
    for track in score["tracks"]:
        track["bars"] += [dict(empty), {**empty, "notes": [note]}]
    score["tracks"].append({"instrument": 56, "track_type": "melodic", "bars": [{**empty, "notes": [note]}] * 10})
    content, _ = export(server, score, original)
    assert all(content.count(other) == original.count(other) for other in OTHERS)
    again = Score.from_bytes(content)
    assert [track.program for track in again.tracks] == [0, 33, 0, 56]
    assert len(again.tracks[3].notes) == 10
    assert len(again.tracks[0].bars) == 10


def test_a_song_that_began_empty_is_a_file_of_its_own(server: TestClient) -> None:
    score = read(server, song())["score"]
    content, remarks = export(server, score, None)
    assert remarks == []
    assert read(server, content)["score"]["tracks"] == score["tracks"]


def test_the_largest_song_that_is_opened_is_exported() -> None:
    limits, most = Limits(), ServerSettings(models=()).max_export_bytes
    note = '{"pitch":127,"velocity":127,"onset_ticks":999999,"duration_ticks":999999,"delta":-240},'
    bar = '{"ts_numerator":16,"ts_denominator":16,"notes":[]},'
    score = limits.notes * len(note) + limits.tracks * limits.bars * len(bar)
    assert score + MOST_BYTES * 4 // 3 < most - 10_000
    # The song and its file together are longer than a request may be.
    original = song(64)
    with client(max_body_bytes=20_000, max_export_bytes=200_000) as small:
        score_of_file = read(small, original)["score"]
        assert len(json.dumps(score_of_file)) > 20_000
        assert export(small, score_of_file, original) == (original, [])
        refused = small.post("/studio/export", content=b" " * 200_001)
        assert refused.status_code == 413


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "broken.mid, byte 0: "),
        (b"RIFF1234", "broken.mid, byte 0: "),
        (b"MThd but no more", "broken.mid, byte 4"),
        (song()[:-30], "broken.mid, byte "),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(server: TestClient, content: bytes, reason: str) -> None:
    answer = server.post("/studio/read?name=broken.mid", content=content)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(reason)


def test_exports_that_cannot_be_made_are_refused(server: TestClient) -> None:
    score = read(server, song())["score"]
    other = base64.b64encode(song(pedal=False)[:-40]).decode()
    for body, detail in (
        ({"score": score, "like": "%%%"}, "like: expected Base64 of the MIDI file"),
        ({"score": score, "like": "é"}, "like: expected Base64 of the MIDI file"),
        ({"score": score, "like": other}, "the opened file, byte "),
        ({"score": {"tracks": []}}, "score.tracks is empty."),
        ({"score": {**score, "tracks": score["tracks"][:1]}, "like": base64.b64encode(song()).decode()}, "the score's"),
    ):
        answer = server.post("/studio/export", json=body)
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith(detail)


def test_a_song_beyond_the_limits_is_refused() -> None:
    from midigpt_server.scores import Limits

    limited = client(score_limits=Limits(notes=50))
    answer = limited.post("/studio/read", content=song())
    assert answer.status_code == 422
    assert answer.json()["detail"] == "the file has 80 notes. Open a file with at most 50."
