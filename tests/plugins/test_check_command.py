"""``midigpt plugins check``: the kit from the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from midigpt_core.cli.main import main
from midigpt_core.kinds import Kind
from midigpt_core.testing import checks_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
BROKEN = """
from midigpt_core import hookimpl
from midigpt_core.components import MaskSpec

MIDIGPT_API = 1


def build(options, context):
    return Mask()


class Mask:
    def mask(self, windows, infill, keys):
        raise KeyError("oops")


@hookimpl
def midigpt_masks():
    return [MaskSpec(name="all", summary="Masks everything", target="hasty:build")]
"""


def test_each_check_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "check", "masking"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["ok", check.id] for check in checks_of("masking")]
    assert last == f"{len(lines)} of {len(lines)} checks passed."


def test_one_kind_and_the_paths_of_a_source(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plugins", "check", "midifiles", "--kind", "source", "--paths", f"midifiles={MIDI}"]
    assert main(command) == 0
    *lines, _ = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.split()[1].startswith("source-midifiles-") for line in lines)
    assert main([*command[:-1], f"midifiles={MIDI / 'absent'}"]) == 1
    assert "FAILED  source-midifiles-" in capsys.readouterr().out


def test_a_source_of_other_files_is_told_to_name_paths(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "check", "gigamidi", "--kind", "source"]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 5
    for line in failed:
        assert "a folder of .mid files cannot be read: " in line
        assert "Name paths that the source can read: paths={'gigamidi': [PATH]} in a test, --paths" in line
        assert line.endswith("--paths gigamidi=PATH in a command.")


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_checked(kind: Kind, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of each kind, by the command."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    project = EXAMPLES / kind
    (test,) = project.glob("tests/test_*.py")
    name = test.stem.removeprefix("test_").replace("_", "-")
    assert main(["plugins", "check", name, "--kind", kind, "--plugins-dir", str(project)]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) >= 4
    assert all(line.split()[1].startswith(f"{kind}-{name}-") for line in lines)
    assert last == f"{len(lines)} of {len(lines)} checks passed."


def test_what_fails_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hasty.py").write_text(BROKEN)
    assert main(["plugins", "check", "hasty", "--plugins-dir", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "ok      mask-all-target-resolves\n" in out
    assert "FAILED  mask-all-takes-an-empty-batch: KeyError: 'oops' (in a check)\n" in out


def test_wrong_arguments_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, part in (
        (["masks"], "Error: no plugin named 'masks'. Did you mean 'masking'?"),
        (["masking", "--kind", "encoder"], "provides no encoder"),
        (["masking", "--paths", "here"], "is not of the form SOURCE=PATH"),
        (["midifiles", "--paths", "midifile=here"], "Did you mean 'midifiles'?"),
    ):
        assert main(["plugins", "check", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("Error: ")
        assert error.count("\n") == 1
        assert part in error


def test_a_command_has_no_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "check", "serve"]) == 2
    assert capsys.readouterr().err == (
        "Error: command 'serve' (midigpt-core 0.1.0) has no components, so the kit has no checks for it. Run its own "
        "tests: pytest in its folder.\n"
    )
