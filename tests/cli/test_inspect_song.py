"""``midigpt inspect song.mid``, ``encoders show``, ``--version`` and ``help``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from midigpt_core import __version__
from midigpt_core.cli.main import main
from midigpt_core.score import Score
from support.songs import in_riff, song

if TYPE_CHECKING:
    from pathlib import Path


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_a_song_is_listed_with_what_generate_asks_for(midi_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = midi_folder / "mutopia_beethoven_op18_4_1.mid"
    lines = printed(capsys, "inspect", path).splitlines()
    assert lines[0].startswith(f"{path}: 4 tracks, bars 0 to ")
    assert "beats per minute" in lines[0]
    assert lines[1] == "Time signatures: 4/4."
    assert lines[2] == "Encoder presets that can write it: expressive, ghost, prism, yellow."
    header, first, *_ = lines[3:]
    assert header.split() == ["track", "name", "program", "bars", "with", "notes", "notes", "range"]
    assert first.split()[:4] == ["0", "one", "40", "Violin"]
    assert " to " in first
    content = json.loads(printed(capsys, "inspect", path, "--json"))
    assert [track["track_name"] for track in content["tracks"]] == ["one", "two", "three", "four"]
    assert [one["preset"] for one in content["presets"] if one["can_write"]] == [
        "expressive", "ghost", "prism", "yellow",
    ]  # fmt: skip
    low, high = content["tracks"][0]["pitches"]
    assert 0 < low < high < 128


def test_changes_of_signature_are_listed_with_their_bars(midi_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "inspect", midi_folder / "edge_time_sig_change.mid").splitlines()
    assert lines[1] == "Time signatures: 4/4 (bars 0 to 4), 3/4 (bars 5 to 9)."


def test_bars_that_a_preset_cannot_write_are_named(
    midi_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (midi_folder / "edge_time_sig_change.mid").read_bytes()
    # 3/4 becomes 31/4, which no preset has.
    changed = content.replace(bytes([0xFF, 0x58, 4, 3, 2]), bytes([0xFF, 0x58, 4, 31, 2]))
    assert changed != content
    (tmp_path / "odd.mid").write_bytes(changed)
    found = json.loads(printed(capsys, "inspect", tmp_path / "odd.mid", "--json"))["presets"]
    assert not any(one["can_write"] for one in found)
    assert all(min(one["refused_bars"]) == 5 for one in found)
    assert "yellow does not have the time signature of bars 5" in printed(capsys, "inspect", tmp_path / "odd.mid")


def test_a_file_that_is_midi_by_its_bytes_or_its_name(
    midi_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "song").write_bytes((midi_folder / "piano_bell.mid").read_bytes())
    assert "1 track" in printed(capsys, "inspect", tmp_path / "song")
    (tmp_path / "broken.mid").write_bytes(b"no music")
    for file in ("broken.mid", "missing.mid"):
        assert main(["inspect", str(tmp_path / file)]) == 2
        assert f"Error: {tmp_path / file}" in capsys.readouterr().err


def test_an_rmi_file_is_the_midi_file_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, contained = tmp_path / "song.mid", tmp_path / "song.rmi"
    plain.write_bytes(song())
    contained.write_bytes(in_riff(song()))
    expected = json.loads(printed(capsys, "inspect", plain, "--json"))
    assert json.loads(printed(capsys, "inspect", contained, "--json")) == {**expected, "input": str(contained)}
    assert printed(capsys, "encode", contained) == printed(capsys, "encode", plain)
    # The song with other notes is a MIDI file without the container.
    assert Score.from_midi(contained).to_midi(tmp_path / "again.mid", like=contained) == ()
    assert (tmp_path / "again.mid").read_bytes() == song()


@pytest.mark.parametrize("preset", ["yellow", "ghost", "prism", "expressive"])
def test_a_preset_as_json_is_an_encoder_configuration(
    preset: str, midi_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = tmp_path / "encoder.json"
    shown.write_text(printed(capsys, "encoders", "show", preset, "--json"))
    path = midi_folder / "piano_bell.mid"
    by_file = printed(capsys, "encode", path, "--encoder-config", shown)
    assert by_file == printed(capsys, "encode", path, "--encoder-config", preset)
    assert "num_bars_map" in printed(capsys, "encoders", "show", preset)


def test_an_unknown_preset_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders", "show", "yelow"]) == 2
    assert "no encoder preset named 'yelow'. Did you mean 'yellow'?" in capsys.readouterr().err


def test_the_version_and_the_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--version") == f"midigpt-core {__version__}\n"
    assert printed(capsys, "help").startswith("Usage: midigpt [OPTIONS] COMMAND")
    of_help, of_option = printed(capsys, "help", "corpus", "info"), printed(capsys, "corpus", "info", "--help")
    assert of_help == of_option
    assert main(["help", "trian"]) == 2
    assert "no command named 'trian'. Did you mean 'train'?" in capsys.readouterr().err


def number(value: int) -> bytes:
    assert value < 128
    return bytes([value])


def midi(*chunks: bytes, format_number: int = 1) -> bytes:
    head = b"MThd" + (6).to_bytes(4, "big") + bytes([0, format_number, 0, len(chunks), 1, 0xE0])
    return head + b"".join(b"MTrk" + len(chunk).to_bytes(4, "big") + chunk for chunk in chunks)


def named(name: bytes, *notes: tuple[int, int]) -> bytes:
    """A chunk with a name that plays (channel, pitch) one after another, after some events that must be passed over."""
    before = bytes([0, 0xF0, 2, 1, 0xF7, 0, 0xB0, 7, 100, 0, 10, 64, 0, 0xC0, 5])
    events = [bytes([0, 0x90 | channel, pitch, 64, 60, 0x80 | channel, pitch, 0]) for channel, pitch in notes]
    name_event = b"\0\xff\3" + number(len(name)) + name if name else b""
    return before + name_event + b"".join(events) + b"\0\xff\x2f\0"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (midi(named(b"Bass", (0, 40)), named(b"Lead", (1, 60))), ["Bass", "Lead"]),
        # The first chunk has no notes, and so no track; the second becomes two tracks, by channel.
        (midi(named(b"Song"), named(b"Band", (2, 40), (9, 60))), ["Band", "Band"]),
        (midi(named("Häh".encode("latin-1"), (0, 40))), ["Häh"]),
        (midi(named("Süß".encode(), (0, 40))), ["Süß"]),
        (midi(named(b"", (0, 40))), [""]),
    ],
)
def test_names_belong_to_the_tracks_that_become_of_their_chunks(
    content: bytes, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "song.mid").write_bytes(content)
    found: dict[str, Any] = json.loads(printed(capsys, "inspect", tmp_path / "song.mid", "--json"))
    assert [track["track_name"] for track in found["tracks"]] == names
