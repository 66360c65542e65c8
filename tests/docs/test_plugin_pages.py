"""The pages on plugins say what the source says, and what they show works."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import attrs
import pytest

from midigpt_core import errors, hookspecs
from midigpt_core.cli import main
from midigpt_core.cli.groups import THIRD_PARTY_COMMANDS
from midigpt_core.config import TrainConfig, apply_overrides
from midigpt_core.encoding.token_grammar import Part, TokenClass, TokenGrammar
from midigpt_core.kinds import RUN_KINDS, Kind
from midigpt_core.plugins import Selection, current_registry, load_registry, structure_options
from midigpt_core.plugins.discovery import ENTRY_POINT_GROUP
from midigpt_core.score import Score
from midigpt_core.testing import music

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "plugins"
EXAMPLES = ROOT / "examples"
HOOKS = [name for name in vars(hookspecs) if name.startswith("midigpt_")]
#: Pages that are not about one hook.
GUIDES = {"tutorial.md", "encoder_tutorial.md", "grammars.md", "promises.md"}
#: A block, its language, and the text between it and the one before.
BLOCK = re.compile(r"(?P<before>(?:(?!```).)*?)^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def _search_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def page_of(kind: Kind) -> str:
    return (PAGES / f"{kind}s").with_suffix(".md").read_text(encoding="utf-8")


def example_of(kind: Kind) -> str:
    """The name of the plugin in ``examples/``."""
    (project,) = re.findall(r'^name = "midigpt-plugin-(.+)"$', (EXAMPLES / kind / "pyproject.toml").read_text(), re.M)
    return str(project)


def test_pages_and_examples_are_what_the_source_says() -> None:
    """`make plugin-pages` writes them."""
    done = subprocess.run(
        [sys.executable, "docs/plugin_pages.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_there_is_a_page_for_every_hook_and_the_index_names_it() -> None:
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in PAGES.glob("*.md")} - {"README.md", *GUIDES}
    assert pages == {hook.removeprefix("midigpt_").replace("_", "-") + ".md" for hook in HOOKS}
    assert all(f"({page})" in index for page in {*pages, *GUIDES})
    assert all(f"| `{kind}` |" in index for kind in Kind)


def test_the_index_shows_what_exists(capsys: pytest.CaptureFixture[str]) -> None:
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    imports = re.findall(r"^ *(from midigpt_core\S* import .+)$", index, re.MULTILINE)
    assert len(imports) == 2
    for line in imports:
        exec(line, {})
    groups = re.findall(r'^ *\[project\.entry-points\."(.+)"\]$', index, re.MULTILINE)
    assert groups == [ENTRY_POINT_GROUP, THIRD_PARTY_COMMANDS]
    raised = re.findall(r"`(\w+Error)`", index)
    assert len(raised) >= 6
    assert [name for name in raised if not hasattr(errors, name)] == []
    # The capabilities are those that the bundled components have.
    table = index.partition("| capability |")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert main(["encoders", "--json"]) == 0
    provided = {name for row in json.loads(capsys.readouterr().out) for name in row["provides"]}
    provided |= {name for spec in current_registry().specs(Kind.ARCHITECTURE) for name in spec.provides}
    assert named == provided


@pytest.mark.parametrize("kind", RUN_KINDS)
def test_every_example_is_selected_as_its_page_says(kind: Kind) -> None:
    registry = load_registry(Selection(plugin_dirs=(str(EXAMPLES / kind),)))
    section = page_of(kind).partition("## How a user selects it")[2]
    (flags,) = re.findall(r"^midigpt train (.+) …$", section, re.MULTILINE)
    (block,) = re.findall(r"^```json\n(.+?)^```", section, re.DOTALL | re.MULTILINE)
    option, name, *assignments = shlex.split(flags)
    assert (option, name) == (kind.option, example_of(kind))
    by_flags = TrainConfig.from_mapping({kind.setting: name}, "flags")
    apply_overrides(by_flags, [word for word in assignments if word != "--set"], origin="--set")
    by_file = TrainConfig.from_mapping(json.loads(block), "file")
    assert by_flags.choice(kind) == by_file.choice(kind)
    ref = registry.resolve(kind, by_file.choice(kind))
    assert structure_options(ref) is not None
    assert ref.plugin == name


def test_the_example_of_a_metric_is_selected_as_its_page_says() -> None:
    registry = load_registry(Selection(plugin_dirs=(str(EXAMPLES / Kind.METRIC),)))
    section = page_of(Kind.METRIC).partition("## How a user selects it")[2]
    (flags,) = re.findall(r"^midigpt evaluate --music (.+) …$", section, re.MULTILINE)
    (block,) = re.findall(r"^```json\n(.+?)^```", section, re.DOTALL | re.MULTILINE)
    assert shlex.split(flags) == [Kind.METRIC.option, example_of(Kind.METRIC)]
    (of_file,) = TrainConfig.from_mapping(json.loads(block), "file").metrics
    (by_flag,) = re.findall(r"`--metric '(.+?)'`", section)
    for choice in (of_file, json.loads(by_flag)):
        ref = registry.resolve(Kind.METRIC, choice)
        assert structure_options(ref) is not None
        assert ref.plugin == example_of(Kind.METRIC)


def test_the_callbacks_of_the_example_take_part_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    train_on_samples(tmp_path, "--plugins-dir", str(EXAMPLES / "callbacks"))
    lines = (tmp_path / "run" / "weight_norm.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["1"]
    assert float(lines[0].split()[1]) > 0


def train_on_samples(folder: Path, *flags: str) -> None:
    for number, score in enumerate(music.scores()):
        score.to_midi(folder / "songs" / f"{number}.mid")
    tiny = {"n_embd": 16, "n_layer": 1, "n_head": 1, "batch_size": 2, "max_steps": 2, "warmup_steps": 1}
    (folder / "tiny.json").write_text(json.dumps(tiny | {"source": "midifiles", "encoder_config_path": "ghost"}))
    paths = ["--config", str(folder / "tiny.json"), "--train-data", str(folder / "songs")]
    assert main([*flags, "train", *paths, "--output-dir", str(folder / "run")]) == 0


def steps(page: str) -> Iterator[tuple[str, str, str]]:
    """The blocks of a page: language, text, and for a file the path that the text before it names last."""
    for match in BLOCK.finditer(page):
        paths = re.findall(r"`([\w./-]+\.(?:py|json))`", match["before"])
        yield match["language"], match["body"], "" if match["language"] == "sh" else paths[-1]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A new virtual environment on top of the one that runs the tests, first in the search path for programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    programs = tmp_path / "venv" / "bin"
    site = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    parent = sysconfig.get_paths()["purelib"]
    (tmp_path / "venv" / site / "parent.pth").write_text(f"import site; site.addsitedir({parent!r})\n")
    # What the tests' environment has is not fetched: no index, and the build backend that is installed.
    pip = f'{sys.executable} -m pip --disable-pip-version-check --python {programs}/python "$1"'
    build = 'case "$1" in install|wheel) build=--no-build-isolation;; esac'
    scripts = {
        "pip": f'#!/bin/sh\n{build}\nexec {pip} $build "${{@:2}}"\n'.replace("/bin/sh", "/bin/bash"),
        "midigpt": f"#!{programs}/python\nimport sys\nfrom midigpt_core.cli import main\nsys.exit(main())\n",
    }
    for name, script in scripts.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MIDIGPT_", "PYTEST_"))}
    return kept | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "MIDIGPT_CACHE": str(tmp_path / "cache"),
    }


def run_blocks(name: str, folder: Path, environment: dict[str, str]) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Every block of a page in one shell, from top to bottom; a block that is a file is written where the text says.

    Returns the folder in which the shell began, and what it printed.
    """
    page = (PAGES / name).read_text(encoding="utf-8")
    blocks = list(steps(page))
    assert len(blocks) == page.count("\n```") // 2 >= 10
    script = ["set -e"]
    for number, (language, body, path) in enumerate(blocks):
        if language == "sh":
            script.append(body)
        else:
            (folder / f"block{number}").write_text(body)
            script.append(f"cp {folder}/block{number} {path}")
    work = folder / "work"
    work.mkdir()
    done = run(["bash", "-c", "\n".join(script)], cwd=work, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return work, done


def test_every_block_of_the_tutorial_runs(tmp_path: Path, environment: dict[str, str]) -> None:
    work, done = run_blocks("tutorial.md", tmp_path, environment)
    # The kit alone, then with the tutorial's own test.
    passed = [int(count) for count in re.findall(r"(\d+) passed", done.stdout)]
    assert len(passed) == 2
    assert passed[1] == passed[0] + 1
    assert re.search(r"period +an integer +2", done.stdout)
    assert "mask.track: unknown option. Did you mean 'tracks'?" in done.stderr
    assert "exit code 2" in done.stdout
    bundles = sorted(path.relative_to(work).as_posix() for path in work.rglob("model_final.pt"))
    assert bundles == ["midigpt-plugin-whole-tracks/runs/tracks/model_final.pt", "runs/user/model_final.pt"]
    inspected = run(["midigpt", "inspect", "runs/user/model_final.pt", "--json"], cwd=work, env=environment)
    mask = json.loads(inspected.stdout)["provenance"]["components"]["mask"]
    assert (mask["name"], mask["distribution"], mask["version"]) == (
        "whole-tracks",
        "midigpt-plugin-whole-tracks",
        "0.1.0",
    )


def test_every_block_of_the_tutorial_on_encoders_runs(tmp_path: Path, environment: dict[str, str]) -> None:
    work, done = run_blocks("encoder_tutorial.md", tmp_path, environment)
    folder = work / "midigpt-plugin-loud-notes"
    assert len(re.findall(r"(\d+) passed", done.stdout)) == 1
    # The kit finds the mistake that the page makes on purpose, and nothing else.
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    assert failed == ["encoder-loud-notes-signatures-are-kept:"]
    assert "exit code 1" in done.stdout
    assert "class 'pitch': then: there is no class 'lenght'. Classes are onset, loud," in done.stdout
    given, filled, sparse = (
        Score.from_midi(folder / path) for path in ("songs/piece0.mid", "filled/piece0-1.mid", "sparse/piece0-1.mid")
    )
    for written in (filled, sparse):
        bars = zip(written.tracks[0].bars, given.tracks[0].bars, strict=True)
        kept = [[*one.notes.rows()] == [*other.notes.rows()] for one, other in bars]
        assert [number for number, same in enumerate(kept) if not same] == [2, 3]
    assert all(len(sparse.tracks[0].bars[bar].notes) <= 4 for bar in (2, 3))
    words = [word for block in BLOCK.finditer((PAGES / "encoder_tutorial.md").read_text(encoding="utf-8"))
             if block["language"] == "python" for word in block["body"].splitlines()]  # fmt: skip
    assert len(words) <= 150


def test_the_grammar_of_its_page_generates_what_the_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = list(BLOCK.finditer((PAGES / "grammars.md").read_text(encoding="utf-8")))
    (shown,) = [block["body"] for block in blocks if block["language"] == "text"]
    names: dict[str, Any] = {}
    for block in blocks:
        if block["language"] == "python":
            exec(block["body"], names)
    assert capsys.readouterr().out.strip() == shown.strip()
    assert names["Encoder"].token_grammar is names["GRAMMAR"]


def test_the_page_on_grammars_explains_every_option() -> None:
    page = (PAGES / "grammars.md").read_text(encoding="utf-8")
    table = page.partition("## The options of a class")[2]
    assert all(f"`{field.name}" in table for field in attrs.fields(TokenClass))
    assert all(f'part="{part}"' in table for part in get_args(Part) if part)
    assert all(f"`{field.name}`" in page for field in attrs.fields(TokenGrammar) if field.name != "classes")


def run(command: list[str], **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, **settings)
