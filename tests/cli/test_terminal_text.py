"""Names that would steer a terminal are planted wherever text comes from; none of their characters reaches it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from midigpt_core.cli.main import main

#: Erases the screen, sets a title, moves up, forges a line, turns writing around, joins words, ends a string in C1.
HOSTILE = "a\x1b[2J\x1b]0;t\x07\x1b[1A\r\ntotal  99\u202e\u2066\u200b\x9b\x7f\x00\ud800b"
#: The same where the file system or an argument is to take it.
NAME = "a\x1b[2J\x07\x1b[1A\r\ntotal  99\u202e\x7f" + os.fsdecode(b"\xff")
SONG = Path(__file__).parents[1] / "data" / "midi"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def shown(capfd: pytest.CaptureFixture[str], arguments: list[str], code: int) -> tuple[str, str]:
    """What a command printed, none of which steers a terminal."""
    assert main(arguments) == code
    printed = capfd.readouterr()
    for text in printed:
        require_harmless(text)
    return printed


def require_harmless(text: str) -> None:
    assert [character for character in text if not (character.isprintable() or character == "\n")] == [], text
    assert "\ntotal  99" not in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", NAME],
        ["diff", NAME, NAME],
        ["convert", NAME, "out.pt"],
        ["encode", NAME],
        ["encode", "x.mid", "--encoder-config", NAME],
        ["encode", "x.mid", "--bars", NAME],
        ["decode", NAME, "-o", "x.mid"],
        ["curves", NAME],
        ["preprocess", "--data", NAME, "--encoder-config", "yellow"],
        ["preprocess", "--data", f"{NAME}*", "--encoder-config", "yellow"],
        ["evaluate", "--checkpoint", NAME, "--data", "x"],
        ["generate", "--checkpoint", NAME, "--new-track", NAME, "--bars", "0-3", "-o", NAME],
        ["generate", "--checkpoint", NAME, "--new-track", "drums", "--bars", "0-3", "-o", NAME, "--set", NAME],
        ["config", "show", f"{NAME}.json"],
        ["config", "show", "--set", f"{NAME}=1"],
        ["config", "convert", f"{NAME}.json", f"{NAME}.json"],
        ["train", "--train-data", "x", "--mask", NAME],
        ["train", "--train-data", "x", "--logger", NAME, "--output-dir", NAME],
        ["corpus", "info", "--data", NAME],
        ["plugins", "show", NAME],
        ["plugins", "new", NAME, "--kind", "mask"],
        ["plugins", "list", "--plugins-dir", NAME],
        ["plugins", "list", "--plugin", NAME],
        [NAME],
        ["plugins", NAME],
        ["version", f"--{NAME}"],
        ["version", NAME],
    ],
    ids=lambda arguments: " ".join(arguments).replace(NAME, "NAME"),
)
def test_an_argument(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    output, error = shown(capfd, arguments, 2)
    assert output == ""
    assert error.count("\n") == 1


def test_rows_of_a_parquet_file(capfd: pytest.CaptureFixture[str]) -> None:
    song = next(path for path in sorted(SONG.glob("*.mid")) if path.stat().st_size < 4000).read_bytes()
    text = HOSTILE.replace("\ud800", "")
    folder = NAME.removesuffix(os.fsdecode(b"\xff"))
    Path(folder).mkdir()
    table = pa.table({"md5": [text, f"{text}2", "x"], "music": pa.array([b"no music", song, None], pa.binary())})
    pq.write_table(table, Path(folder, "rows.parquet"))
    for arguments in (
        ["preprocess", "--data", folder, "--encoder-config", "yellow"],
        ["corpus", "info"],
        ["corpus", "info", "--data", folder, "--eval-data", folder],
        ["corpus", "clean", "--all"],
    ):
        assert main(arguments) in (0, 2)
        for printed in capfd.readouterr():
            require_harmless(printed)


def test_keys_and_values_of_files(capfd: pytest.CaptureFixture[str]) -> None:
    preset = json.loads((Path(__file__).parents[2] / "plugins/midigpt_encoder/presets/ghost.json").read_text())
    for number, change in enumerate(
        (
            {HOSTILE: 1},
            {"genre_groups": {HOSTILE: [HOSTILE]}},
            {"genre_groups": HOSTILE},
            {"attribute_controls": [{"type": HOSTILE}]},
            {"pitch_range": [HOSTILE]},
            {"time_signatures": {HOSTILE: HOSTILE}},
        )
    ):
        file = Path(f"{number}{NAME}.json")
        file.write_text(json.dumps({**preset, **change}))
        song = str(sorted(SONG.glob("*.mid"))[0])
        main(["encode", song, "--encoder-config", str(file)])
        for printed in capfd.readouterr():
            require_harmless(printed)
    changes: list[Any] = [{HOSTILE: 1}, {"scheduler": HOSTILE}, {"mask": {"name": HOSTILE}}]
    changes.append({"train_sets": [{"paths": "a", HOSTILE: 1}]})
    for number, change in enumerate(changes):
        file = Path(f"c{number}.json")
        file.write_text(json.dumps(change))
        shown(capfd, ["train", "--config", str(file), "--train-data", "x"], 2)
        main(["config", "show", str(file)])
        for printed in capfd.readouterr():
            require_harmless(printed)
    Path("old.json").write_text(json.dumps({HOSTILE: 1, "lr": 1e-3}))
    shown(capfd, ["config", "convert", "old.json", f"{NAME}.json"], 0)
    Path("tokens.txt").write_bytes(HOSTILE.encode("utf-8", "replace"))
    shown(capfd, ["decode", "tokens.txt", "-o", "x.mid"], 2)


PLUGIN = """
from midigpt_core import hookimpl
from midigpt_core.components import MaskSpec

MIDIGPT_API = 1
NAME = {name!r}

@hookimpl
def midigpt_masks():
    return [MaskSpec(name="swing", target="x:y", summary=NAME, options="x:Y", provides={{NAME}}, requires={{NAME}})]
"""


def test_plugins(capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path(f"plug{NAME}")
    folder.mkdir()
    name = HOSTILE.replace("\ud800", "")
    (folder / f"good{NAME}.py").write_text(PLUGIN.format(name=name), encoding="utf-8")
    (folder / f"bad{NAME}.py").write_text(f"MIDIGPT_API = 1\nraise ValueError({name!r})\n", encoding="utf-8")
    (folder / "ugly.py").write_text("MIDIGPT_API = 1\nraise SystemExit('\\x1b[2J\\u202e')\n")
    for arguments in (
        ["plugins", "list"],
        ["plugins", "list", "--components"],
        ["plugins", "list", "--components", "--json"],
        ["plugins", "show", "ugly"],
        ["plugins", "show", f"good{NAME}"],
        ["encoders"],
        ["train", "--train-data", "x", "--mask", "swingg"],
        ["--plugin", "ugly", "encoders"],
    ):
        main(["--plugins-dir", str(folder), *arguments])
        for printed in capfd.readouterr():
            require_harmless(printed)


PROGRAM = """
import logging, sys, warnings
import click
from midigpt_core import terminal
from midigpt_core.cli.main import run

HOSTILE = {hostile!r}

@click.command()
def command():
    terminal.logger("midigpt_core.test").warning("%s", HOSTILE)
    logging.getLogger("elsewhere").warning(HOSTILE)
    warnings.warn(HOSTILE)
    try:
        raise ValueError(HOSTILE + "\\nforged 99")
    except ValueError as error:
        raise KeyError(HOSTILE) from error

run(command, "prog", [])
"""


def test_what_is_printed_by_other_ways(tmp_path: Path) -> None:
    """Logs, warnings, and the traceback of a bug."""
    (tmp_path / "program.py").write_text(PROGRAM.format(hostile=HOSTILE))
    done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("total  99") > 4
    assert "Traceback" in done.stderr
    assert not re.search(r"^ValueError(?!: a)|^KeyError(?!: )|^forged", done.stderr, re.MULTILINE)
    for character in done.stderr:
        assert character.isprintable() or character == "\n"


def test_json_keeps_what_text_drops(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    song = tmp_path / "a\x7f\u202e\x1b.mid"
    song.write_bytes(sorted(SONG.glob("*.mid"))[0].read_bytes())
    output, _ = shown(capfd, ["encode", str(song), "--bars", "0-3", "--json"], 0)
    document: Any = json.loads(output)
    assert document["file"] == str(song)
