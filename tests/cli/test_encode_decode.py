"""``midigpt encode`` and ``midigpt decode``: tokens by name and as JSON, there and back, and what is refused."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from midigpt_encoder.data_files import load_preset
from midigpt_encoder.factory import EncoderOptions
from midigpt_encoder.factory import build as build_encoder

from midigpt_core.checkpoint import save_bundle
from midigpt_core.cli.main import main
from midigpt_core.contracts import Bundle, EncoderContext
from midigpt_core.score import Score
from support.tiny_gpt2 import tiny_gpt2

if TYPE_CHECKING:
    from collections.abc import Callable

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
BACH = str(MIDI / "mutopia_bach_invention_08.mid")
MOZART = str(MIDI / "mutopia_mozart_kv525_1.mid")


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command prints."""

    def run(*arguments: str) -> str:
        assert main(arguments) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line that a command fails with."""

    def run(*arguments: str) -> str:
        assert main(arguments) == 2
        output = capsys.readouterr()
        assert output.out == ""
        lines = [line for line in output.err.splitlines() if not line.startswith("Note: ")]
        assert len(lines) == 1
        return lines[0]

    return run


def _feed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def _summary(path: Path) -> str:
    columns = Score.from_midi(path).columns
    return f"{len(columns.track_program)} tracks, {len(columns.note_pitch)} notes"


def _music(score: Score) -> list[Any]:
    return [(track.program, track.is_drum, list(track.notes.rows())) for track in score.tracks]


def test_tokens_by_name_a_bar_to_a_line(printed: Callable[..., str]) -> None:
    lines = printed("encode", BACH, "--bars", "0-3").splitlines()
    assert lines[0] == "PieceStart(0) NumBars(0)"
    assert [line.split()[0] for line in lines[1:]] == 2 * ["Track(0)", *4 * ["Bar(0)"], "TrackEnd(0)"]
    assert lines[2].startswith("Bar(0) TimeSig(10) TimeAbsolutePos(6) VelocityLevel(31) NoteOnset(65) NoteDuration(5)")


def test_parts_of_a_file(printed: Callable[..., str]) -> None:
    whole = json.loads(printed("encode", BACH, "--bars", "8-11", "--json"))
    assert (whole["bars"], whole["tracks"], whole["tempo"]) == ([8, 11], [0, 1], Score.from_midi(BACH).tempo)
    swapped = json.loads(printed("encode", BACH, "--bars", "8-11", "--tracks", "1,0", "--json"))
    assert swapped["tracks"] == [1, 0]
    assert swapped["tokens"] != whole["tokens"]
    assert sorted(swapped["tokens"]) == sorted(whole["tokens"])


def test_infill_cells_count_within_the_file(printed: Callable[..., str]) -> None:
    lines = printed("encode", BACH, "--bars", "8-11", "--tracks", "1", "--infill", "1:10").splitlines()
    assert lines[0] == "PieceStart(1) NumBars(0)"
    bars = [line for line in lines if line.startswith("Bar")]
    assert ["FillInPlaceholder(0)" in bar for bar in bars] == [False, False, True, False]
    plain = printed("encode", BACH, "--bars", "8-11", "--tracks", "1").splitlines()
    music = [line for line in plain if line.startswith("Bar")][2].split()[2:-1]
    assert lines[-1].split() == ["FillInStart(0)", *music, "FillInEnd(0)"]


@pytest.fixture
def corrected(tmp_path: Path) -> Path:
    """The preset expressive with every corrected control instead of the public one."""
    config = load_preset("expressive") | {"emit_delta_tokens": "signed"}
    del config["token_domains"]
    names = ("silence_proportion_corrected", "pitch_class_count", "nomml_fine")
    config["attribute_controls"] = [{"name": "key_signature"}, *({"name": name} for name in names)]
    path = tmp_path / "corrected.json"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("preset", ["yellow", "prism", "expressive", "ghost", "corrected"])
@pytest.mark.parametrize("options", ["--json", "", "--infill 0:9,1:10 --json", "--infill 0:9,1:10"])
def test_there_and_back_and_there_again(
    preset: str,
    options: str,
    *,
    corrected: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    printed: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    encoder = ["--encoder-config", str(corrected) if preset == "corrected" else preset]
    middle = tmp_path / "middle.mid"
    first = printed("encode", MOZART, "--bars", "8-11", *encoder, *options.split())
    _feed(monkeypatch, first.encode())
    assert printed("decode", "-", "-o", str(middle), *encoder) == f"Wrote {middle}: {_summary(middle)}.\n"
    assert (Score.from_midi(middle).tempo == Score.from_midi(MOZART).tempo) == ("--json" in options)
    _feed(monkeypatch, first.encode())
    assert main(["decode", "-", "-o", str(middle), *encoder]) == 2
    assert f"{middle}: exists already. Choose another name, or add --overwrite." in capsys.readouterr().err
    _feed(monkeypatch, first.encode())
    assert main(["decode", "-", "-o", str(middle), "--overwrite", *encoder]) == 0
    assert ("Tokens do not store the tempo: it was set to 120." in capsys.readouterr().err) == ("--json" not in options)
    # The first encoding puts the music on the encoder's grid; from there on nothing changes.
    again = tmp_path / "again.mid"
    tokens = tmp_path / "tokens"
    tokens.write_text(printed("encode", str(middle), *encoder, "--json", "--bars", "0-3"))
    printed("decode", str(tokens), "--output", str(again), *encoder)
    assert _music(Score.from_midi(again)) == _music(Score.from_midi(middle))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_bundles_carry_corrected_controls(
    suffix: str, corrected: Path, tmp_path: Path, printed: Callable[..., str]
) -> None:
    encoder = build_encoder(EncoderOptions(config=str(corrected)), EncoderContext())
    model = tiny_gpt2(encoder.vocab_size)
    bundle = Bundle(
        architecture="gpt2",
        architecture_config=model.architecture_config(),
        encoder="midigpt",
        encoder_config=encoder.to_config(),
        provenance={},
        state_dict=model.state_dict(),
    )
    path = save_bundle(bundle, tmp_path / f"model{suffix}")
    groove = str(MIDI / "groove_funk_92.mid")
    from_file = printed("encode", groove, "--bars", "8-11", "--encoder-config", str(corrected))
    assert printed("encode", groove, "--bars", "8-11", "--checkpoint", str(path)) == from_file
    # A drum performance: played off every grid, early as often as late.
    names = {name.partition("(")[0] for name in from_file.split()}
    assert {"RestPercentage", "TrackLevelNomml", "DeltaDirection", "Delta"} <= names
    assert "PitchClassCount(" in printed("encode", BACH, "--bars", "8-11", "--checkpoint", str(path))


def test_ids_and_names_may_be_mixed(tmp_path: Path, printed: Callable[..., str]) -> None:
    reference = json.loads(printed("encode", BACH, "--bars", "0-3", "--json"))["tokens"]
    names = printed("encode", BACH, "--bars", "0-3").split()
    mixed = [
        name if index % 2 else str(token) for index, (token, name) in enumerate(zip(reference, names, strict=True))
    ]
    outputs = []
    for index, text in enumerate((json.dumps(reference), " ".join(mixed), json.dumps(mixed))):
        (tmp_path / "tokens").write_text(text)
        outputs.append(tmp_path / f"{index}.mid")
        printed("decode", str(tmp_path / "tokens"), "-o", str(outputs[-1]))
    assert len({path.read_bytes() for path in outputs}) == 1
    assert len(Score.from_midi(outputs[0]).columns.note_pitch) == sum(name.startswith("NoteOnset") for name in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bars", "31-34"], "there are no bars 31-34. Bars are 0 to 33."),
        (["--bars", "3-0"], "there are no bars 3-0."),
        (["--bars", "999999999"], "there are no bars 999999999-999999999."),
        (["--bars", "0-3", "--tracks", "0,2"], "there is no track 2. Tracks are 0 to 1."),
        (["--bars", "0-3", "--tracks", "1,1"], "tracks 1, 1: name each track once"),
        (["--bars", "0-3", "--infill", "0:4"], "infill 0:4 is not among bars 0-3 of tracks 0, 1."),
        (["--bars", "0-3", "--tracks", "1", "--infill", "0:1"], "infill 0:1 is not among bars 0-3 of tracks 1."),
        ([], "34 bars are not a window size of the encoder. Choose bars so that there are 4 or 8 of them"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_parts_that_are_not_there(arguments: list[str], message: str, refused: Callable[..., str]) -> None:
    assert refused("encode", BACH, *arguments).startswith(f"Error: {BACH}: {message}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bars", "0:3"], "'--bars': '0:3' is not a range of bars."),
        (["--tracks", "0, 1"], "'--tracks': '0, 1' is not a list of tracks."),
        (["--infill", "0-1"], "'--infill': '0-1' is not a list of cells."),
        (["--checkpoint", "x", "--encoder-config", "y"], "--checkpoint and --encoder-config both name an encoder."),
        (["--checkpoint", "no/such.pt"], "no/such.pt"),
        (["--encoder-config", "yelow"], "yelow"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_options(arguments: list[str], message: str, refused: Callable[..., str]) -> None:
    assert message in refused("encode", BACH, *arguments)


def test_files_that_cannot_be_encoded(tmp_path: Path, refused: Callable[..., str]) -> None:
    file = tmp_path / "song.mid"
    assert f"{file}: cannot be read" in refused("encode", str(file))
    file.write_bytes(b"not MIDI")
    assert str(file) in refused("encode", str(file))
    file.write_bytes(b"MThd\0\0\0\6\0\1\0\0\1\xe0")
    assert refused("encode", str(file)) == f"Error: {file}: there are no tracks to encode. Use a file with notes."


def test_a_time_signature_outside_the_list_names_its_bar(tmp_path: Path, refused: Callable[..., str]) -> None:
    bars = [[4, 4, 4.0], [4, 4, 4.0], [23, 16, 5.75], [4, 4, 4.0]]
    notes = [[bar, 0, 480, 60, 80, 0] for bar in range(4)]
    tracks = [{"program": 0, "drum": False, "notes": notes}]
    file = tmp_path / "odd.mid"
    Score.from_dict({"resolution": 480, "tempo": 500000, "bars": bars, "tracks": tracks}).to_midi(file)
    assert refused("encode", str(file)).startswith(f"Error: {file}: bar 2 is in 23/16, a time signature that the enc")


def test_an_encoder_without_infilling(tmp_path: Path, refused: Callable[..., str]) -> None:
    config = tmp_path / "plain.json"
    config.write_text('{"resolution": 12}')
    message = refused("encode", BACH, "--encoder-config", str(config), "--infill", "0:1")
    assert message.startswith(f"Error: {BACH}: the encoder has no infilling.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there are no tokens."),
        (b" \n", "there are no tokens."),
        (b"[]", "there are no tokens."),
        (b"MThd\0\0\0\6\xff\xfe", "is not text."),
        (b'{"tokens": [1,', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"ids": [1]}', "has no list 'tokens'."),
        (b"[[1]]", "token 0 is [1], which is not among the encoder's 647."),
        (b"[true]", "token 0 is True,"),
        (b"[0, 1.0]", "token 1 is 1.0,"),
        (b"[0, -1]", "token 1 is -1,"),
        (b"[0, 647]", "token 1 is 647,"),
        (b"[" + b"9" * 4000 + b"]", "token 0 is 99999"),
        (b"0 1 647", "token 2 is '647',"),
        (b"Bar(0) NoteOnst(60)", "token 1 is 'NoteOnst(60)', which is not among the encoder's 647. Did you mean 'Note"),
        (b'{"tokens": [0], "vocab_size": 843}', "the tokens are from a vocabulary of 843, this encoder's has 647."),
        (b'{"tokens": [0], "tempo": 0}', "tempo is 0, not microseconds"),
        (b'{"tokens": [0], "tempo": 16777216}', "tempo is 16777216,"),
    ],
)
def test_tokens_that_are_none(content: bytes, message: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_bytes(content)
    assert refused("decode", str(tokens), "-o", str(tmp_path / "out.mid")).startswith(f"Error: {tokens}: {message}")
    assert not (tmp_path / "out.mid").exists()


def test_decode_reads_a_file_that_is_there(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "cannot be read" in refused("decode", str(tmp_path), "-o", str(tmp_path / "out.mid"))
    assert "'-o' / '--output'" in refused("decode", "-")
