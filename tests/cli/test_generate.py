"""``midigpt generate`` as it is called, on a small bundle with random weights: files, summary, and what is refused."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from midigpt_encoder.factory import EncoderOptions
from midigpt_encoder.factory import build as build_encoder
from PIL import Image

from midigpt_core.audio import libraries, rendering
from midigpt_core.audio.libraries import audio_libraries
from midigpt_core.checkpoint import save_bundle
from midigpt_core.cli import generation_progress
from midigpt_core.cli.asked import Flags, read_flags, score_of
from midigpt_core.cli.generate import heard_lines
from midigpt_core.cli.main import main
from midigpt_core.contracts import Bundle, EncoderContext
from midigpt_core.corpus.copy_index import CopyIndex
from midigpt_core.errors import DataError
from midigpt_core.inference import RequestValidationError
from midigpt_core.inference.outcome import Listening, TrackOutcome
from midigpt_core.score import Score
from midigpt_core.score.bar_fingerprints import bar_fingerprints
from midigpt_core.score.piano_roll import NEW, OLD
from support.songs import with_lyrics
from support.soundfont import soundfont
from support.tiny_gpt2 import tiny_gpt2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from midigpt_core.inference import Progress

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
#: Two tracks of 34 bars.
BACH = str(MIDI / "mutopia_bach_invention_08.mid")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _saved(tmp_path_factory.mktemp("bundle"), {})


def _saved(folder: Path, provenance: dict[str, Any]) -> str:
    encoder = build_encoder(EncoderOptions(config="yellow"), EncoderContext())
    model = tiny_gpt2(encoder.vocab_size, 1024, n_embd=32, n_layer=1, n_head=2)
    content = Bundle(
        architecture="gpt2",
        architecture_config=model.architecture_config(),
        encoder="midigpt",
        encoder_config=encoder.to_config(),
        provenance=provenance,
        state_dict=model.state_dict(),
    )
    return str(save_bundle(content, folder / "model.pt"))


@pytest.fixture
def generate(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Exit code, output and error of the command, which writes to ``tmp_path``."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["generate", "--checkpoint", bundle, "--device", "cpu", "-o", str(tmp_path), *arguments])
        output = capsys.readouterr()
        lines = [line for line in output.err.splitlines() if not line.startswith("Note: ")]
        return code, output.out, "\n".join(lines)

    return run


def _tracks(path: str | Path) -> list[Any]:
    return [(track.program, track.is_drum, list(track.notes.rows())) for track in Score.from_midi(path).tracks]


def _outside(path: str | Path, cells: set[tuple[int, int]]) -> list[list[list[int]]]:
    """The notes of each track that do not lie in ``cells``."""
    content = Score.from_midi(path).to_dict()
    return [
        [note for note in track["notes"] if (index, note[0]) not in cells]
        for index, track in enumerate(content["tracks"])
    ]


def _colours(path: Path) -> set[tuple[int, ...]]:
    """Colours below the legend."""
    with Image.open(path) as image:
        below = image.crop((0, 30, *image.size))
        return {colour for _, colour in below.getcolors(1 << 24) or () if isinstance(colour, tuple)}


def test_bars_are_filled_in_and_nothing_else_changes(
    generate: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    arguments = ("--input", BACH, "--track", "1", "--bars", "8-11", "--candidates", "2", "--seed", "7")
    code, text, error = generate(*arguments, "--attribute", "max_polyphony=3")
    assert (code, error) == (0, "")
    names = [f"mutopia_bach_invention_08-{number}" for number in (1, 2)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{name}{suffix}" for name in names for suffix in (".mid", ".png")
    )
    written = {(1, bar) for bar in range(8, 12)}
    for name in names:
        midi = tmp_path / f"{name}.mid"
        assert _outside(midi, written) == _outside(BACH, written)
        assert _tracks(midi) != _tracks(BACH)
        assert {NEW, OLD} <= _colours(midi.with_suffix(".png"))
    assert _tracks(tmp_path / f"{names[0]}.mid") != _tracks(tmp_path / f"{names[1]}.mid")
    header, first, second, *remarks = text.splitlines()
    assert header.split() == ["file", "track", "bars", "notes", "novelty", "attribute", "requested", "reached"]
    assert first.split()[:3] == [f"{names[0]}.mid", "1", "8-11"]
    assert second.split()[:3] == [f"{names[1]}.mid", "1", "8-11"]
    assert "max_polyphony (bars 6-13)  3 " in first
    assert remarks[0].startswith("seed 7, ")
    assert remarks[1:] == ["track 1: the model heard track 0 in bars 8-11"]
    assert remarks[0].endswith(" tokens/s)")


def test_notes_follow_the_controls(generate: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    arguments = ("--input", BACH, "--track", "1", "--bars", "8-11", "--seed", "7", "--shuffle")
    options = ("--scale", "A minor pentatonic", "--rhythm", "0,12,24x2", "--bar-control", "9:rhythm=0")
    code, _, error = generate(*arguments, *options)
    assert (code, error) == (0, "")
    score = Score.from_midi(tmp_path / "mutopia_bach_invention_08-1.mid")
    bars = [score.tracks[1].bars[bar] for bar in range(8, 12)]
    ticks = [[round(onset * 12 / score.resolution) for onset in bar.notes.onset] for bar in bars]
    assert ticks == [[0, 12, 24, 24], [0], [0, 12, 24, 24], [0, 12, 24, 24]]
    assert {pitch % 12 for bar in bars for pitch in bar.notes.pitch} <= {9, 0, 2, 4, 7}
    code, _, error = generate(*arguments, "--scale", "A minro", "--remix", "2")
    assert code == 2
    assert "--scale: 'A minro' is not a scale" in error
    assert "--remix: '2' is not a remix" in error


def test_the_same_seed_writes_the_same_files_and_none_is_replaced_unasked(
    generate: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    arguments = ("--input", BACH, "--track", "0", "--bars", "4", "--seed", "7")
    assert generate(*arguments)[0] == 0
    midi = tmp_path / "mutopia_bach_invention_08-1.mid"
    first = midi.read_bytes()
    code, _, error = generate(*arguments[:-1], "8")
    assert code == 2
    assert error == f"Error: {midi} and 1 more: exists already. Name another folder, or add --overwrite."
    assert midi.read_bytes() == first
    assert generate(*arguments, "--overwrite")[0] == 0
    assert midi.read_bytes() == first
    assert generate(*arguments[:-1], "8", "--overwrite")[0] == 0
    assert midi.read_bytes() != first


def test_a_piece_goes_on_and_gets_a_track(generate: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, text, _ = generate(
        *("--input", BACH, "--continue", "2", "--new-track", "program=33", "--seed", "1", "--json"),
        *("--attribute", "2:max_polyphony=2"),
    )
    assert code == 0
    summary = json.loads(text)
    (candidate,) = summary["candidates"]
    assert [(track["track"], track["bars"]) for track in candidate["tracks"]] == [
        (0, [34, 35]),
        (1, [34, 35]),
        (2, list(range(36))),
    ]
    assert (summary["seed"], summary["cancelled"]) == (1, False)
    assert [track["notes"] > 0 for track in candidate["tracks"]] == [True, True, True]
    assert [bool(track["attributes"]) for track in candidate["tracks"]] == [False, False, True]
    assert {reached["requested"] for reached in candidate["tracks"][2]["attributes"]} == {2}
    midi = tmp_path / "mutopia_bach_invention_08-1.mid"
    assert candidate["midi"] == str(midi)
    assert Path(candidate["piano_roll"]).is_file()
    added = {(track, bar) for track in (0, 1, 2) for bar in (34, 35)}
    assert _outside(midi, added)[:2] == _outside(BACH, added)
    assert _tracks(midi)[2][:2] == (33, False)
    assert sum(len(notes) for _, _, notes in _tracks(midi)) == sum(len(notes) for _, _, notes in _tracks(BACH)) + sum(
        track["notes"] for track in candidate["tracks"]
    )


def test_a_track_without_notes_goes_on_only_where_it_is_named(
    generate: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """A file with lyrics has such a track, which is no part of the music."""
    sung = tmp_path / "sung.mid"
    sung.write_bytes(with_lyrics())
    assert [len(notes) > 0 for *_, notes in _tracks(sung)] == [True, False]
    for options, written in (((), [0]), (("--track", "0,1"), [0, 1]), (("--new-track", "drums"), [0, 2])):
        code, text, _ = generate("--input", str(sung), "--continue", "2", "--json", "--overwrite", *options)
        assert code == 0
        assert [track["track"] for track in json.loads(text)["candidates"][0]["tracks"]] == written


def test_a_new_piece(generate: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, text, _ = generate("--new-track", "drums", "--new-track", "33", "--bars", "0-5", "--seed", "1")
    assert code == 0
    assert [(program, drum) for program, drum, _ in _tracks(tmp_path / "new-1.mid")] == [(0, True), (33, False)]
    assert [line.split()[-6:-5] for line in text.splitlines()[1:3]] == [["0-5"], ["0-5"]]


def test_levels_reached_are_those_of_the_music(generate: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """Level 7 of a drum track's note_density: counted here by the notes of the file."""
    arguments = ("--new-track", "drums", "--bars", "0-3", "--seed", "1", "--attribute", "note_density=7", "--json")
    hit = generate(*arguments)
    (reached,) = json.loads(hit[1])["candidates"][0]["tracks"][0]["attributes"]
    assert (reached["name"], reached["requested"], reached["bar"]) == ("note_density", 7, None)
    assert generate(*arguments, "--overwrite", "--set", "density_hard_limit=1")[0] == 0
    counts = [len(bar.notes) for bar in Score.from_midi(tmp_path / "new-1.mid").tracks[0].bars]
    assert max(counts) == 1
    again = json.loads(generate(*arguments, "--overwrite", "--set", "density_hard_limit=1")[1])
    (limited,) = again["candidates"][0]["tracks"][0]["attributes"]
    assert limited["reached"] == 0
    assert limited["reached"] < reached["reached"]


def test_a_plan_writes_nothing(generate: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, text, _ = generate("--input", BACH, "--track", "0", "--bars", "8-11", "--set", "plan_only=true")
    assert code == 0
    assert [(step["start_bar"], step["end_bar"], step["bars"]) for step in json.loads(text)] == [
        (6, 14, {"0": [8, 9, 10, 11]})
    ]
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_keeps_the_bars_that_are_complete(
    generate: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def interrupting() -> Iterator[Callable[[Progress], None]]:
        def told(state: Progress) -> None:
            if 0 < state.bars_done < state.bars and len(interrupted) == 0:
                interrupted.append(state.bars_done)
                signal.raise_signal(signal.SIGINT)

        yield told

    interrupted: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(generation_progress, "generation_progress", interrupting)
    code, text, said = generate("--input", BACH, "--new-track", "33", "--seed", "1")
    assert code == 130
    assert said.splitlines()[-1] == "Stopping after this token. Press Ctrl-C again to stop now."
    assert interrupted
    assert "Stopped: the files contain the bars that were finished." in text
    bars = {
        note[0]
        for note in Score.from_midi(tmp_path / "mutopia_bach_invention_08-1.mid").to_dict()["tracks"][2]["notes"]
    }
    assert bars
    assert max(bars) < 33
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("first", "ends"), [(True, -signal.SIGINT), (False, 130)])
def test_ctrl_c_while_files_are_written(bundle: str, tmp_path: Path, first: bool, ends: int) -> None:
    """After one that ended the run it ends the process; as the first it ends the command."""
    script = f"""
import os, signal, sys, time
from midigpt_core.cli.generate import heard_lines
from midigpt_core.cli.main import main
from midigpt_core.inference import session, outcome

def slow(*_):
    print("run is over", flush=True)
    time.sleep({0.5 if first else 0})
    signal.raise_signal(signal.SIGINT)
    time.sleep(30)
    return []

def tell(self):
    if {first} and not self.is_cancelled():
        signal.raise_signal(signal.SIGINT)
    return 0.0

outcome.outcomes = slow
session._Run.tell = tell
sys.exit(main(sys.argv[1:]))
"""
    command = ["generate", "--checkpoint", bundle, "--device", "cpu", "-o", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", script, *command, "--input", BACH, "--continue", "8"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "run is over\n", done.stderr
    assert done.returncode == ends
    assert ("Stopping after this token" in done.stderr) is first
    assert ("Interrupted." in done.stderr) is not first


@pytest.mark.parametrize(
    ("line", "problems"),
    [
        (
            "--input BACH --track 1 --bars 2 --attribute max_polyphony=3 --attribute 1:max_polyphony=2 "
            "--attribute max_polyphony=4",
            ["--attribute: max_polyphony is given 2 times. Keep one of them."],
        ),
        (
            "",
            [
                "there is nothing to write.",
                "without --input, --bars must give the length of the new piece, e.g. --bars 0-7.",
            ],
        ),
        (
            "--input BACH --track 0,x --bars 9-4 --new-track piano --attribute foo --set bar --continue 0 "
            "--seed 1 --set seed=2",
            [
                "--track: '0,x' is not a list of tracks.",
                "--new-track: 'piano' is not a track.",
                "--attribute: 'foo' is not an attribute.",
                "--continue and --bars both say which bars to write.",
                "--bars: 9-4 ends before it begins.",
                "--continue 0: give the number of bars to add, 1 to 10000.",
                "--set 'bar' is not of the form key=value.",
                "--set seed and the flag of that name set the same field.",
            ],
        ),
        (
            "--input BACH --track 0,7 --bars 30-40 --attribute foo=3 --attribute 1:max_polyphony=3 --candidates 0 "
            "--set model_dim=5",
            [
                "--attribute 1:max_polyphony=3: track 1 is not written, only tracks 0, 7.",
                "config.num_candidates is 0.",
                "config.model_dim (window_bars) is 5: the model never saw such a window. Choose one of 4, 8.",
                "track 0: bars 34-40: out of range. Bars are 0 to 33.",
                "track 0: attributes.foo: the encoder has no such track attribute.",
                "track 7: there is no such track. Tracks are 0 to 1.",
            ],
        ),
        (
            "--input BACH --track 9 --bars 0 --set top_q=1",
            ["--set: config.top_q: unknown option. Did you mean 'top_p'?", "track 9: there is no such track."],
        ),
        (
            "--input BACH --continue 4 --set model_dim=-4 --set bars_per_step=-1 --set ar_overlap=1 "
            "--set context_drop=[99,98] --set temperature=hot --set topp=1",
            [
                "config.temperature: expected a number, got 'hot'.",
                "--set: config.topp: unknown option. Did you mean 'top_p'?",
                'config.model_dim (window_bars) is -4. Choose "auto" or a value from 0 to 20000.',
                'config.bars_per_step is -1. Choose "auto" or a value from 0 to 20000.',
                "config.ar_overlap is 1. Choose a value from 0 to below 1.",
                "config.context_drop 98-99: there is no such track. Tracks are 0 to 1.",
            ],
        ),
        (
            "--input BACH --track x --bars 0 --set topp=1 --set seed=x --set top_k=-1 --temperature -1",
            [
                "config.temperature is -1.0. Choose a value from 0 to 100.",
                "config.top_k is -1.",
                "--track: 'x' is not a list of tracks.",
                "--set: config.topp: unknown option.",
                "config.seed: expected an integer, got 'x'.",
            ],
        ),
        (
            "--input BACH --track 0,1 --bars 0-33 --attribute note_density=3 --attribute max_polyphony=99",
            [
                "tracks 0-1: attributes.note_density: it does not apply to a melodic track. Available: "
                "max_note_duration, max_polyphony, min_note_duration, min_polyphony.",
                "tracks 0-1: attributes.max_polyphony is 99. Levels are 0 to 9.",
            ],
        ),
        ("--input BACH --track 0", ["--track needs --bars, e.g. --bars 8-11."]),
        ("--track 0 --bars 0", ["--track and --continue need a piece."]),
        ("--new-track 33 --bars 0-10000", ["--bars: 0-10000 goes past bar 9999"]),
        ("--input EMPTY --new-track 3 --bars 0-3", ["the score is empty"]),
        ("--input no.mid --track 0 --bars 0", ["no.mid: cannot be read"]),
        ("--new-track 33 --bars 0-3 --set mask_mode=token", ['config.mask_mode is "token"']),
        ("--new-track 33 --bars 0-3 --precision int9", ["precision: no precision 'int9'"]),
    ],
    ids=[
        "attribute twice",
        "nothing",
        "flags",
        "request",
        "config",
        "ranges",
        "flags and values",
        "both tracks",
        "bars",
        "no piece",
        "many",
        "empty",
        "file",
        "mask",
        "precision",
    ],
)
def test_all_that_is_wrong_is_named_and_nothing_written(
    generate: Callable[..., tuple[int, str, str]], tmp_path: Path, line: str, problems: list[str]
) -> None:
    files = {"BACH": BACH, "EMPTY": str(MIDI / "empty.mid")}
    code, text, error = generate(*(files.get(word, word) for word in line.split()))
    assert (code, text) == (2, "")
    assert error.count("\n") == 0
    assert [problem for problem in problems if problem not in error] == []
    if len(problems) > 1:
        assert error.startswith(f"Error: {len(problems)} problems: (1) ")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_folders_place(generate: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    code, _, error = generate("--new-track", "33", "--bars", "0-3", "-o", str(taken))
    assert (code, error) == (2, f"Error: {taken} is a file. Name a folder for the files.")
    assert taken.read_text() == "mine"


@pytest.mark.parametrize("command", ["generate", "convert", "decode", "curves"])
@pytest.mark.parametrize("folder", ["FILE", "FILE/below", "/dev/null/below"])
def test_a_place_that_cannot_be_written_is_found_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bundle: str, command: str, folder: str
) -> None:
    """The files are no bundle, tokens, run or device: a command that looked at them first would report that instead."""
    (tmp_path / "file").write_text("mine")
    out = Path(folder.replace("FILE", str(tmp_path / "file")))
    cut = tmp_path / "cut.pt"
    cut.write_bytes(b"no bundle")
    arguments = {
        "generate": ["--checkpoint", bundle, "--new-track", "33", "--bars", "0-3", "-o", str(out), "--device", "none"],
        "convert": [str(cut), str(out / "x.safetensors")],
        "decode": [str(tmp_path / "no.txt"), "--checkpoint", str(cut), "-o", str(out / "x.mid")],
        "curves": [str(tmp_path / "no run"), "-o", str(out / "x.png")],
    }
    assert main([command, *arguments[command]]) == 2
    error = capsys.readouterr().err
    assert "cannot be written" in error or "is a file. Name a folder" in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.pt", "file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_in_a_files_place_is_found_before_the_model_is_loaded(
    generate: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "new-1.png").mkdir()
    code, _, error = generate("--new-track", "33", "--bars", "0-3", "--overwrite", "--device", "none")
    assert (code, error) == (2, f"Error: {tmp_path / 'new-1.png'}: is a folder. Name a file.")


def test_an_input_alone_lists_its_tracks_and_what_to_ask(
    bundle: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["generate", "--input", BACH]) == 2
    output = capsys.readouterr()
    assert output.err.splitlines()[-1] == (
        "Error: there is nothing to write. Give --track with --bars, --new-track, or --continue."
    )
    title, signatures, header, first, second, *_ = output.out.splitlines()
    assert title == f"{BACH}: 2 tracks, bars 0 to 33, 90 beats per minute."
    assert signatures == "Time signatures: 3/4."
    assert re.split(r"  +", header) == ["track", "name", "program", "bars with notes", "notes", "range"]
    assert re.split(r"  +", first) == ["0", "one", "0 Acoustic Grand Piano", "0-33", "297", "F3 to C6"]
    assert re.split(r"  +", second)[:3] == ["1", "two", "0 Acoustic Grand Piano"]
    assert all(flag in output.out for flag in ("--track T --bars A-B", "--new-track", "--continue N", "--attribute"))
    assert "max_polyphony" not in output.out
    funk = str(MIDI / "groove_funk_92.mid")
    assert main(["generate", "--input", funk, "--checkpoint", bundle, "-o", str(tmp_path / "out")]) == 2
    text = capsys.readouterr().out
    assert re.search(r"^0 +Midi Drums +drums +0-[0-9]+", text, re.MULTILINE)
    assert re.search(r"^max_polyphony +0-9 +track +melodic$", text, re.MULTILINE)
    assert re.search(r"^note_density +0-9 +track +drum$", text, re.MULTILINE)
    assert not (tmp_path / "out").exists()
    assert main(["generate", "--input", BACH, "--json"]) == 2
    listed = json.loads(capsys.readouterr().out)
    assert [(track["track"], track["notes"]) for track in listed["tracks"]] == [
        (track.index, len(track.notes)) for track in Score.from_midi(BACH).tracks
    ]


@pytest.mark.parametrize(
    ("arguments", "missing"), [(["-o", "x"], "'--checkpoint'"), (["--checkpoint", "x"], "'-o' / '--output'")]
)
def test_what_writing_needs(arguments: list[str], missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--new-track", "33", "--bars", "0", *arguments]) == 2
    assert f"Error: Missing option {missing}. 'midigpt generate --help' shows the usage." in capsys.readouterr().err


def test_an_empty_piece_of_unknown_length_is_an_error_in_python_too() -> None:
    flags = Flags(
        has_input=False,
        tracks=None,
        bars=None,
        new_tracks=["33"],
        continue_bars=None,
        autoregressive=False,
        attributes=(),
    )
    with pytest.raises(RequestValidationError, match="length of the new piece"):
        score_of(read_flags(flags), None)


ERROR_AND_MODULES = """
import sys
from midigpt_core.cli import main
code = main(sys.argv[1:])
print(code, *sorted({"torch", "lightning", "transformers"} & set(sys.modules)))
"""


def test_a_bad_request_is_refused_before_torch(bundle: str, tmp_path: Path) -> None:
    arguments = [
        "generate",
        "--checkpoint",
        bundle,
        "-o",
        str(tmp_path),
        "--input",
        BACH,
        "--track",
        "5",
        "--bars",
        "0",
    ]
    done = subprocess.run(
        [sys.executable, "-c", ERROR_AND_MODULES, *arguments], capture_output=True, text=True, check=True
    )
    assert "track 5: there is no such track" in done.stderr
    assert done.stdout.split() == ["2"], done.stderr


def test_a_window_that_the_bundle_was_not_trained_on_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    four_bars = _saved(tmp_path, {"stream": {"num_bars_choices": [4], "max_tracks": 1}})
    command = ["generate", "--checkpoint", four_bars, "--input", BACH, "--track", "0", "--bars", "2", "--device", "cpu"]
    out = tmp_path / "out"
    assert main([*command, "-o", str(out), "--set", "window_bars=8", "--set", "tracks_per_step=2"]) == 2
    error = capsys.readouterr().err
    assert "2 problems" in error
    assert "is 8: the model never saw such a window. Choose one of 4." in error
    assert "the model never saw more than 1 at once" in error
    assert not out.exists()
    assert main([*command, "-o", str(out), "--set", "plan_only=true"]) == 0
    (step,) = json.loads(capsys.readouterr().out)
    assert (step["end_bar"] - step["start_bar"], step["dropped_context"]) == (4, [1])
    # One line for a written track, whatever the number of windows.
    assert main([*command[:-4], "--bars", "2-13", "--device", "cpu", "-o", str(out), "--seed", "1"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert lines[0] == "track 0: the model heard no other track in bars 2-13 (left out: track 1)"
    assert len(lines) == 2
    assert "To keep track 1, add --set context_keep=[1]." in lines[1]
    # A plan writes nothing, so that it may have the name of what is there.
    assert main([*command, "-o", str(out), "--set", "plan_only=true"]) == 0


def test_candidates_that_heard_the_same_share_a_line() -> None:
    def outcome(candidate: int, heard: tuple[int, ...]) -> TrackOutcome:
        context = (Listening(bars=(0, 1), heard=heard, left_out=()),)
        return TrackOutcome(
            candidate=candidate, track=1, bars=(0, 1), notes=0, novelty=None, attributes=(), context=context
        )

    found = [outcome(candidate, (0, 2) if candidate == 40 else (0,)) for candidate in range(100)]
    assert list(heard_lines(found)) == [
        "track 1 (candidates 1-40, 42-100): the model heard track 0 in bars 0-1",
        "track 1 (candidate 41): the model heard tracks 0, 2 in bars 0-1",
    ]
    assert list(heard_lines(found[:40])) == ["track 1: the model heard track 0 in bars 0-1"]


def test_a_track_without_notes_is_not_recommended_as_context() -> None:
    context = (Listening(bars=(0, 1), heard=(0,), left_out=(2, 3)),)
    found = [TrackOutcome(candidate=0, track=1, bars=(0, 1), notes=0, novelty=None, attributes=(), context=context)]
    assert list(heard_lines(found, {2}))[-1].endswith("To keep track 3, add --set context_keep=[3].")
    assert len(list(heard_lines(found, {2, 3}))) == 1


def test_outputs_of_any_legal_name_are_written(generate: Callable[..., Any], tmp_path: Path) -> None:
    """Line feeds, control characters and bytes that are no UTF-8, in the name of the piece and thus in its picture."""
    song = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in\n\x1b[31m\xff\xe9.mid"))
    song.write_bytes(Path(BACH).read_bytes())
    for options in ((), ("--json", "--overwrite")):
        code, text, error = generate("--input", str(song), "--track", "0", "--bars", "0-1", *options)
        assert (code, error) == (0, "")
        assert "\x1b" not in text
    assert song.with_name(f"{song.stem}-1.mid").is_file()
    assert song.with_name(f"{song.stem}-1.png").is_file()


def test_outputs_of_the_longest_legal_name_are_written(generate: Callable[..., Any], tmp_path: Path) -> None:
    """Of "-1.mid", which is added to the input's name, the file system may have no room for a byte more."""
    content = Path(BACH).read_bytes()
    for length, expected in ((249, 0), (250, 2)):
        song = tmp_path / f"{'s' * length}.mid"
        song.write_bytes(content)
        code, _, error = generate("--input", str(song), "--track", "0", "--bars", "0-1")
        assert code == expected, error
        if code:
            assert error.startswith("Error: output ")
            assert error.endswith("-1.mid: the name is too long for the file system. Use a shorter one.")
        else:
            assert (tmp_path / f"{song.stem}-1.mid").exists()
            assert (tmp_path / f"{song.stem}-1.png").exists()


def _event(tick: int, *data: int) -> bytes:
    return bytes([0x80 | tick >> 7, tick & 0x7F, *data]) if tick > 127 else bytes([tick, *data])


def _song(*events: bytes) -> bytes:
    """Four bars of one track, with ``events`` at the start."""
    notes = [_event(0, 0x90, 60, 80) + _event(1900, 0x80, 60, 0) + _event(20, 0xB0, 1, 5) for _ in range(4)]
    body = b"".join([*events, *notes]) + b"\0\xff\x2f\0"
    return b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk" + len(body).to_bytes(4, "big") + body


def test_what_a_score_does_not_hold_stays_in_the_file(
    generate: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    kept = [
        b"\0\xff\x51\x03\x07\xa1\x20",
        b"\0\xff\x03\x05Piano",
        b"\0\xb0\x40\x7f",
        b"\0\xe0\0\x50",
        b"\0\xf0\2\1\xf7",
    ]
    song = tmp_path / "song.mid"
    song.write_bytes(_song(*kept))
    assert generate("--input", str(song), "--track", "0", "--bars", "1", "--seed", "3")[0] == 0
    written = (tmp_path / "song-1.mid").read_bytes()
    assert written[22:].startswith(b"".join(kept))
    assert written.count(b"\xb0\x01\x05") == 4
    assert _outside(tmp_path / "song-1.mid", {(0, 1)}) == _outside(song, {(0, 1)})
    assert _tracks(tmp_path / "song-1.mid") != _tracks(song)


def test_a_file_that_cannot_be_kept_is_named(generate: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """A system message relies on the status of one a bar before: no event can stand between them."""
    song = tmp_path / "song.mid"
    body = _event(0, 0x90, 60, 80) + _event(1900, 0x80, 60, 0) + b"\0\xf1\1" + _event(7000, 2) + b"\0\xff\x2f\0"
    song.write_bytes(b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk" + len(body).to_bytes(4, "big") + body)
    code, text, _ = generate("--input", str(song), "--continue", "3", "--seed", "3")
    assert code == 0
    assert f"{song} cannot be kept as it is (" in text
    assert _tracks(tmp_path / "song-1.mid")[0][2][0] == _tracks(song)[0][2][0]


@pytest.fixture
def bank(tmp_path: Path) -> str:
    path = tmp_path.parent / "bank.sf2"
    path.write_bytes(soundfont())
    return str(path)


#: Two bars of a short piece, twice.
SHORT = ("--input", str(MIDI / "edge_drums_and_melodic.mid"), "--track", "0", "--bars", "1-2", "--candidates", "2")


@pytest.mark.parametrize("flags", [("--audio",), ("--audio", "wav")])
def test_candidates_can_be_heard(
    flags: tuple[str, ...],
    generate: Callable[..., tuple[int, str, str]],
    bank: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, text, error = generate(*SHORT, "--seed", "3", *flags, "--soundfont", bank, "--json")
    assert (code, error) == (0, "")
    suffix = ".wav" if "wav" in flags else ".ogg"
    sounds = [tmp_path / f"edge_drums_and_melodic-{number}{suffix}" for number in (1, 2)]
    assert [candidate["audio"] for candidate in json.loads(text)["candidates"]] == [str(sound) for sound in sounds]
    for sound in sounds:
        score = Score.from_midi(sound.with_suffix(".mid"))
        seconds = float(score.columns.bar_length.sum()) * score.tempo / 1e6
        samples, rate = soundfile.read(sound)
        assert seconds - 5 < len(samples) / rate < seconds + 8
        assert abs(samples).max() > 0.02
    # The files are there: they are not replaced without being asked to.
    sounds[0].with_suffix(".mid").unlink()
    sounds[0].with_suffix(".png").unlink()
    code, _, error = generate(*SHORT, *flags, "--soundfont", bank)
    assert code == 2
    assert f"{sounds[0]} and 3 more: exists already" in error
    # The bank of the environment; without --audio there is no sound.
    monkeypatch.setenv("MIDIGPT_SOUNDFONT", bank)
    assert generate(*SHORT, "--overwrite", *flags)[0] == 0
    assert "audio" not in generate(*SHORT, "--overwrite", "--json")[1]


def test_a_piece_too_long_to_be_played_is_cut_and_said(
    generate: Callable[..., tuple[int, str, str]], bank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "MOST_SECONDS", 2)
    code, text, error = generate(*SHORT, "--audio", "--soundfont", bank)
    assert (code, error) == (0, "")
    assert "edge_drums_and_melodic-1.ogg ends after 2 seconds, the longest that is played." in text.splitlines()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--audio", "mp3"), "Error: Invalid value for '--audio': 'mp3' is not one of 'ogg', 'wav'."),
        (("--soundfont", BACH), "Error: --soundfont names the bank for --audio. Add --audio, or leave it out."),
        (("--audio", "--soundfont", BACH), f"Error: --soundfont {BACH}: is not a SoundFont bank, or cut off. Name"),
        (("--audio", "--soundfont", "/nowhere.sf2"), "Error: --soundfont /nowhere.sf2: cannot be read (No such file"),
        (("--audio", "--soundfont", ""), "Error: Invalid value for '--soundfont': is empty"),
    ],
)
def test_wrong_flags_of_sound_are_a_line_before_anything_is_written(
    flags: tuple[str, ...], message: str, generate: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, _, error = generate(*SHORT, *flags)
    assert code == 2
    assert error.startswith(message)
    assert "\n" not in error
    assert not list(tmp_path.iterdir())


def test_sound_without_its_packages_names_the_extra(
    generate: Callable[..., tuple[int, str, str]], bank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda _: None)
    audio_libraries.cache_clear()
    code, _, error = generate(*SHORT, "--audio", "--soundfont", bank)
    assert code == 2
    assert error.endswith("pip install 'midigpt-core[audio]'")
    assert not list(tmp_path.iterdir())


def test_music_that_cannot_be_played_is_written_all_the_same(
    generate: Callable[..., tuple[int, str, str]], bank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def render(*_: Any, name: str, **__: Any) -> bool:
        raise DataError(f"{name}: FluidSynth cannot play this file.")

    monkeypatch.setattr(rendering.Renderer, "render", render)
    code, text, error = generate(*SHORT, "--audio", "--soundfont", bank)
    assert (code, error) == (0, "")
    assert text.count("FluidSynth cannot play this file.") == 2
    assert sorted({path.suffix for path in tmp_path.iterdir()}) == [".mid", ".png"]


def test_novel_music_needs_the_bars_that_the_model_was_trained_on(
    generate: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    asked = ("--input", BACH, "--track", "1", "--bars", "8-9", "--seed", "1", "--set", "density_hard_limit=6")
    code, _, said = generate(*asked, "--novel")
    assert (code, "there is no copies.npy in the bundle's folder" in said, "--copy-index FILE" in said) == (
        2,
        True,
        True,
    )
    index = tmp_path / "bars.npy"
    code, _, said = generate(*asked, "--copy-index", str(index))
    assert (code, "Add --novel" in said) == (2, True)
    code, _, said = generate(*asked, "--novel", "--copy-index", str(index))
    assert (code, "bars.npy" in said) == (2, True)
    assert not list(tmp_path.glob("*.mid"))

    # Of nothing; then of what was written.
    CopyIndex(corpus="00" * 32, pieces="00" * 16, sample=1.0, fingerprints=np.zeros(0, np.uint64)).save(index)
    code, said, _ = generate(*asked, "--novel", "--copy-index", str(index))
    assert (code, "no written bar of four notes or more is in the music of the index" in said) == (0, True)
    (written,) = tmp_path.glob("*.mid")
    _, fingerprints = bar_fingerprints(Score.from_midi(written).columns)
    CopyIndex(corpus="00" * 32, pieces="00" * 16, sample=1.0, fingerprints=np.unique(fingerprints)).save(index)
    again = (*asked, "--novel", "--copy-index", str(index), "--overwrite")
    code, said, _ = generate(*again, "--set", "max_attempts=1")
    assert (code, "track 1: bars 8-9 in the music of the index" in said, "max_attempts=10" in said) == (0, True, True)
    code, said, _ = generate(*again, "--json")
    assert json.loads(said)["candidates"][0]["tracks"][0]["copied"] == []
