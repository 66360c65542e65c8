"""Every option that names a file or folder, of every command: names that no file can have are one line, exit code 2."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from midigpt_core.checkpoint import load_checkpoint, read_header
from midigpt_core.checkpoint.hub import fetch
from midigpt_core.checkpoint.report import inspect
from midigpt_core.cli.main import main
from midigpt_core.cli.options import BUNDLE, NAME, PATH
from midigpt_core.cli.root import root
from midigpt_core.config import TrainConfig
from midigpt_core.config.reading import read_mapping
from midigpt_core.contracts import EncoderContext
from midigpt_core.errors import MidigptError
from midigpt_core.inference import InferenceEngine
from midigpt_core.plugins import build, current_registry
from midigpt_core.plugins.discovery import discover
from midigpt_core.plugins.selection import Selection
from midigpt_core.score import Score
from midigpt_core.training.evaluate import evaluate
from midigpt_core.training.planning.chosen import choose_encoder
from midigpt_core.training.planning.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Text that names no file. A new option is listed here, or has the type PATH or NAME.
NO_NAMES = {
    "assignments", "new_tracks", "attributes", "tracks", "bars", "infill", "precision", "name", "scale", "pitches",
    "pitch_shape", "rhythm", "remix", "time_signature", "bar_controls",
}  # fmt: skip


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*path, name))


COMMANDS = dict(commands(root))
PARAMETERS = [
    (path, parameter)
    for path, command in COMMANDS.items()
    for parameter in command.params
    if parameter.type in (BUNDLE, PATH, NAME)
]


def line(path: tuple[str, ...], parameter: click.Parameter, value: str) -> list[str]:
    """A command line that gives one parameter, and what else the command requires."""
    given = [parameter.opts[-1], value] if isinstance(parameter, click.Option) else []
    positional = []
    for other in COMMANDS[path].params:
        if isinstance(other, click.Argument):
            positional.append(value if other is parameter else _other(other))
        elif other.required and other is not parameter:
            given += [other.opts[-1], _other(other)]
    return [*path, *given, *(["list"] if path == ("plugins",) else []), *positional]


def _other(parameter: click.Parameter) -> str:
    # Without an ending, a bundle's name is one on the Hub.
    return "mask" if isinstance(parameter.type, click.Choice) else "x.pt" if parameter.type is BUNDLE else "x"


def test_every_text_option_is_known_to_name_something_or_not() -> None:
    plain = {
        parameter.name
        for command in COMMANDS.values()
        for parameter in command.params
        if isinstance(parameter.type, click.types.StringParamType)
    }
    assert plain == NO_NAMES
    assert len(PARAMETERS) > 100
    assert {parameter.opts[-1] for path, parameter in PARAMETERS if parameter.type in (BUNDLE, PATH)} >= {
        "--plugins-dir", "--data", "--train-data", "--eval-data", "--config", "--checkpoint", "--input", "--output",
        "-o", "--init-from", "--encoder-config", "--resume", "--folder", "run", "file", "first", "source",
    }  # fmt: skip


def test_an_empty_name_is_refused_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    for path, parameter in PARAMETERS:
        assert main(line(path, parameter, "")) == 2, (path, parameter.opts)
        output, error = capsys.readouterr()
        assert output == ""
        assert error.count("\n") == 1
        assert "is empty (is a shell variable unset?)." in error, (path, parameter.opts, error)
        assert parameter.make_metavar(click.Context(COMMANDS[path])) in error or parameter.opts[-1] in error


def test_names_that_no_file_can_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~old").mkdir()
    Path("loop").symlink_to("loop")
    names = {
        "~old/": "~old is the home folder of no user. Write ./~old/ for a file or folder of that name.",
        "a\0b": "holds a NUL character",
        "n" * 256: "the name is too long for the file system",
        "loop": "its links lead back to themselves",
        "loop/inside": "its links lead back to themselves",
    }
    for path, parameter in PARAMETERS:
        if parameter.type is NAME or parameter.name in ("plugins", "disabled"):
            continue
        for name, reason in names.items():
            assert main(line(path, parameter, name)) == 2, (path, parameter.opts, name)
            error = capsys.readouterr().err
            assert error.count("\n") == 1
            assert reason in error, (path, parameter.opts, error)


@contextlib.contextmanager
def ordinary_permissions() -> Iterator[None]:
    """Inside, permissions hold for this thread: root passes them by (CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    # Effective, permitted and inheritable capabilities 0 to 31, and those from 32 on.
    before, inside = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    inside[:] = before
    inside[0] &= ~(1 << 1 | 1 << 2)
    assert libc.capset(header, inside) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0


@pytest.mark.parametrize("mode", [0o644, 0])
def test_a_folder_that_may_not_be_searched(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does one tell whether a file in it exists."""
    monkeypatch.chdir(tmp_path)
    Path("locked").mkdir()
    Path("locked", "x.json").write_text("{}")
    Path("locked").chmod(mode)
    with ordinary_permissions():
        for path, parameter in PARAMETERS:
            if parameter.type is NAME or parameter.name in ("plugins", "disabled"):
                continue
            for name in ("locked/x.json", "locked/*.mid"):
                assert main(line(path, parameter, name)) == 2, (path, parameter.opts)
                error = capsys.readouterr().err
                assert error.count("\n") == 1
                assert "you may not search a folder in it. Change that folder's permissions" in error, (path, error)
            assert main(line(path, parameter, "locked")) in (0, 2)
            assert "Traceback" not in capsys.readouterr().err
    Path("locked").chmod(0o755)


def test_no_plugin_of_the_current_folder_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("intruder.py").write_text("MIDIGPT_API = 1\nraise SystemExit('imported')\n")
    assert main(["--plugins-dir", "", "plugins", "list", "--components"]) == 2
    for value in ("", os.pathsep, f"{tmp_path}{os.pathsep}"):
        monkeypatch.setenv("MIDIGPT_PLUGINS_DIR", value)
        assert main(["plugins", "list", "--components"]) == 2
        assert "MIDIGPT_PLUGINS_DIR" in capsys.readouterr().err
    monkeypatch.delenv("MIDIGPT_PLUGINS_DIR")
    assert main(["plugins", "list"]) == 0
    assert "intruder" not in capsys.readouterr().out


@pytest.mark.parametrize("value", ["", "~nobody-of-this-name", "n" * 256])
def test_the_cache_has_a_name_that_a_folder_can_have(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", value)
    assert main(["corpus", "info"]) == 2
    error = capsys.readouterr().err
    assert "MIDIGPT_CACHE " in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("setting", ["init_from", "output_dir", "encoder_config_path"])
def test_a_setting_that_names_a_file_is_not_emptied_by_an_unset_variable(
    setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "show", "--set", f"{setting}="]) == 2
    assert f"--set {setting}=: is empty" in capsys.readouterr().err
    for value in ("~nobody-of-this-name/x", "n" * 256, "a\0b"):
        file = tmp_path / "c.yaml"
        file.write_text(f'{setting}: "{value}"\n'.replace("\0", "\\0"))
        assert main(["config", "show", str(file)]) == 2
        error = capsys.readouterr().err
        assert f"{setting}: " in error
        assert error.count("\n") == 1


def test_the_paths_of_a_training_set_have_names_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for paths in ('""', '["a", ""]', "[]"):
        (tmp_path / "c.yaml").write_text(f"train_sets: [{{paths: {paths}}}]\n")
        assert main(["config", "show", str(tmp_path / "c.yaml")]) == 2
        assert "train_sets: " in capsys.readouterr().err


def test_python_takes_no_empty_name_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty path would be the current folder."""
    monkeypatch.chdir(tmp_path)
    encoder = {"name": "midigpt", "config": ""}
    for attempt in (
        lambda: load_checkpoint(""),
        lambda: read_header(""),
        lambda: fetch(""),
        lambda: inspect(""),
        lambda: InferenceEngine.from_checkpoint(""),
        lambda: Score.from_midi(""),
        lambda: read_mapping(""),
        lambda: discover(Selection(plugin_dirs=("",))),
        lambda: evaluate("", ["data"]),
        lambda: prepare(TrainConfig(), ""),
        lambda: prepare(TrainConfig(), "data", ""),
        lambda: prepare(TrainConfig(), ["data", ""]),
        lambda: build(choose_encoder(TrainConfig(encoder=encoder), current_registry()), EncoderContext()),
        lambda: TrainConfig(output_dir=""),
    ):
        with pytest.raises(MidigptError, match="is empty"):
            attempt()
