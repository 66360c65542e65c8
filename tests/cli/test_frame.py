"""The outermost frame: exit codes, one line per error, and what is said before anything heavy is imported."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from midigpt_core.cli.main import main, run
from midigpt_core.cli.root import root
from midigpt_core.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("what")
@click.option("--traceback", is_flag=True)
def failing(what: str, traceback: bool) -> None:
    if what == "user":
        raise DataError("x.parquet: row 3 is broken. Leave it out.")
    if what == "ctrl-c":
        raise KeyboardInterrupt
    if what == "bug":
        raise ZeroDivisionError


def test_what_a_user_can_put_right_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(failing, "prog", ["user"]) == 2
    assert capsys.readouterr() == ("", "Error: x.parquet: row 3 is broken. Leave it out.\n")


def test_traceback_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(failing, "prog", ["user", "--traceback"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.endswith("Error: x.parquet: row 3 is broken. Leave it out.\n")


def test_every_command_of_a_group_is_where_the_group_says() -> None:
    groups: list[click.Group] = [root]
    for group in groups:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            assert command.name == name
            groups += [command] if isinstance(command, click.Group) else []
    assert len(groups) > 3


def test_ctrl_c_is_130() -> None:
    assert run(failing, "prog", ["ctrl-c"]) == 130


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(failing, "prog", ["bug"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "no command named 'trian'. Did you mean 'train'?"),
        (["generate", "--chekpoint", "x"], "'midigpt generate --help' shows the usage."),
        (
            ["train", "--train-data", "x", "--max-steps", "y", "--set", "batch_sze=3", "--set", "seed=x", "--set", "a"],
            "4 problems: (1) --max-steps: max_steps: expected an integer, got 'y'. (2) --set: batch_sze: unknown key. "
            "Did you mean 'batch_size'? (3) --set: seed: expected an integer, got 'x'. (4) --set 'a': is not",
        ),
        (
            [
                "train",
                "--train-data",
                "x",
                "--set",
                "batch_sze=3",
                "--mask",
                "sweng",
                "--set",
                "encoder.confg=yellow",
                "--set",
                'source={"name": "midifiles", "where": ["path"]}',
                "--set",
                "logger.foo=1",
            ],
            "5 problems: (1) --set: batch_sze: unknown key. Did you mean 'batch_size'? (2) source: where: 'path' is no "
            "condition. Write one like 'year >= 1900'. (3) encoder.confg: unknown option. Did you mean 'config'? "
            "(4) no mask named 'sweng'.",
        ),
        (
            ["train", "--train-data", "x", "--set", "encoder.confg=yellow", "--set", "optimizer.foo=1"],
            "2 problems: (1) encoder.confg: unknown option. Did you mean 'config'? (2) optimizer.foo: ",
        ),
        (["plugins", "lst"], "no command named 'lst'. Did you mean 'list'?"),
        (["train"], "Missing option '--train-data'."),
        (["train", "--train-data", "x", "--max-step", "3"], "--max-steps"),
        (
            ["train", "--train-data", "x", "--max-steps", "many"],
            "--max-steps: max_steps: expected an integer, got 'many'",
        ),
        (["train", "--train-data", "x", "--set", "batch_sze=3"], "batch_sze: unknown key. Did you mean 'batch_size'?"),
        (
            ["train", "--train-data", "x", "--seed", "1", "--set", "seed=2"],
            "--seed 1 and --set seed=2 set the same thing",
        ),
        (
            ["train", "--train-data", "x", "--set", "max_seq_len=4096"],
            "max_seq_len: 4096 is more than n_positions = 2048",
        ),
        (
            ["train", "--train-data", "x", "--mask", "structred"],
            "no mask named 'structred'. Did you mean 'structured'?",
        ),
        (["train", "--train-data", "x", "--plugin", "gigamid"], "no such plugin. Did you mean 'gigamidi'?"),
        (["train", "--train-data", "no/such.parquet"], "no/such.parquet"),
        (["train", "--train-data", "x", "--config", "no/such.json"], "no/such.json: cannot be read"),
        (["preprocess", "--parquet", "x"], "x: no such file or folder"),
        (
            ["preprocess", "--parquet", "x", "--checkpoint", "y", "--encoder-config", "z"],
            "--checkpoint and --encoder-config both name an encoder",
        ),
        (["plugins", "show", "maskin"], "no plugin named 'maskin'. Did you mean 'masking'?"),
        (["--plugins-dir", "no/such", "plugins", "list"], "--plugins-dir no/such: is not a folder"),
        (
            ["--plugins-dir", "docs", "plugins", "list"],
            "--plugins-dir docs: contains no plugin. Name a folder with",
        ),
        (["--plugins-dir", "docs", "encoders"], "--plugins-dir docs: contains no plugin. Name a folder with"),
        (
            ["corpus", "info", "--data", "a", "--json", "x.parquet"],
            "Got unexpected extra argument (x.parquet). Put it after the option it belongs to: --data or --eval-data.",
        ),
        (["corpus", "info", "--jason"], "No such option"),
        (
            ["generate", "--checkpoint", "x", "-o", "y", "--track", "1", "--bars", "1", "--track", "2"],
            "is given 2 times. Give all tracks at once: --track 0,2.",
        ),
        (
            ["generate", "--checkpoint", "x", "-o", "y", "--track", "1", "--bars", "1", "--bars", "3"],
            "is given 2 times. Give one range at a time.",
        ),
        (
            ["preprocess", "--parquet", "a", "--workers", "2", "x.parquet"],
            "Put it after the option it belongs to: --parquet/--data.",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("Error: ") and message in line] == lines[-1:]
    assert not any(line.startswith("Traceback") for line in lines)
    assert not re.search(r"[?.][.]( |$)", lines[-1]), "two ends of one sentence"


def test_plugin_options_before_and_after_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["--no-plugin", "legacy", "plugins", "--no-plugin", "gpt2", "list", "--no-plugin", "loggers", "--json"])
        == 0
    )
    statuses = {entry["name"]: entry["status"] for entry in json.loads(capsys.readouterr().out)}
    assert {name for name, status in statuses.items() if status == "disabled"} == {"legacy", "gpt2", "loggers"}


def test_several_values_after_one_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--train-data", "a.parquet", "b.parquet", "--seed", "x", "--eval-data=c", "d"]) == 2
    assert "--seed: seed: expected an integer, got 'x'" in capsys.readouterr().err


def test_the_public_package_beside_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    info = tmp_path / "midigpt-0.4.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: midigpt\nVersion: 0.4.2\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["version"]) == 0
    error = capsys.readouterr().err
    assert error.startswith("Note: the public package midigpt 0.4.2 is installed together with midigpt-core")
    assert error.count("\n") == 1
    assert main(["plugins", "list", "--json"]) == 0
    assert capsys.readouterr().err == ""


def test_an_unbuilt_source_tree(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["plugins", "list"]) == 2
    error = capsys.readouterr().err
    assert "is a source tree without its native module. Run 'pip install -e .'" in error
    assert error.count("\n") == 1


ERROR_AND_MODULES = """
import sys
from midigpt_core.cli import main
code = main(sys.argv[1:])
print(code, *sorted({"torch", "lightning", "transformers"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--train-data", "x", "--set", "batch_sze=3"],
        ["--train-data", "no/such.parquet", "--set", "encoder_config_path=yellow"],
        ["--train-data", "x", "--set", "encoder_config_path=yelow"],
    ],
    ids=["config", "data", "encoder"],
)
def test_errors_come_before_torch(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ERROR_AND_MODULES, "train", *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2"], done.stderr


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, midigpt_core; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "lightning", "transformers", "pyarrow", "numpy", "cattrs", "rich", "attr"}.isdisjoint(loaded)
    assert "midigpt_core" in loaded


def test_help_loads_neither_logging_nor_ctypes() -> None:
    """What logs needs the one, a second Ctrl-C the other: together 3 % of the processor time of ``midigpt --help``."""
    code = "import sys; from midigpt_core.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "train" in done.stdout
    loaded = set(done.stderr.split())
    assert "midigpt_core.terminal" in loaded
    assert {"logging", "ctypes", "_ctypes", "midigpt_core.logs", "midigpt_core.system.ending"}.isdisjoint(loaded)


@pytest.mark.parametrize("module", ["midigpt", "midigpt.training.trainer", "midigpt.training.preprocess"])
def test_the_documented_programs(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--sett"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert done.stderr.endswith(f" 'python -m {module} --help' shows the usage.\n")
