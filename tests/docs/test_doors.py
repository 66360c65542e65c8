"""What a contributor, a citation and a release start from names only what exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from midigpt_core.cli.root import root

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PAGES = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "docs" / "releasing.md",
    ROOT / "changelog.d" / "README.md",
    ROOT / ".github" / "pull_request_template.md",
    *FORMS,
]

FENCE = re.compile(r"^ *```\n(?P<body>.*?)^ *```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`(?P<code>[^`\n]+)`")
#: Programs that this project neither makes nor declares.
OUTSIDE = {"git", "sha256sum", ".venv/bin/pre-commit"}
#: What every environment has.
OF_PYTHON = {"python", "pip"}
#: A file by its suffix, or the start of a name that stands for several.
FILE = re.compile(r"[\w.-]+\.(md|py|toml|txt|cff|mk|yml|yaml)")
HEADING = re.compile(r"^## (?P<version>\S+)(?: - (?P<day>\d{4}-\d\d-\d\d))?$", re.MULTILINE)


def make_targets() -> set[str]:
    """The targets that the Makefile and what it includes declare as phony, or write out as rules."""
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "native.mk"))
    (fuzzers,) = re.findall(r"^FUZZ_TARGETS := (.+)$", text, re.MULTILINE)
    named = {f"fuzz-{fuzzer}" for fuzzer in fuzzers.split()}
    for line in re.findall(r"^([a-z][\w -]*):(?!=)", text, re.MULTILINE):
        named.update(line.split())
    return named


def ignored_folders() -> set[str]:
    """What git ignores is made, not kept: .venv, build and the like."""
    return {line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").split() if "*" not in line}


def tools() -> set[str]:
    """The programs of the environment that `make setup` makes."""
    declared = [line for extra in ("test", "dev") for line in PROJECT["project"]["optional-dependencies"][extra]]
    names = {re.split(r"[<>=\[;]", line)[0] for line in declared}
    # The one distribution whose program has another name.
    return (names - {"import-linter"}) | {"lint-imports"} | OF_PYTHON | set(PROJECT["project"]["scripts"])


def is_made(path: str) -> bool:
    return path.split("/", maxsplit=1)[0] in ignored_folders()


def missing_file(word: str) -> bool:
    """Whether ``word`` reads as a file or folder of this repository, perhaps with a test's name, that is not there."""
    path, _, test = word.partition("::")
    if "<" in word or word.startswith(("-", "+", "@", "/")) or is_made(path):
        return False
    if "/" not in path and not FILE.fullmatch(path):
        return False
    if not (ROOT / path).exists() and not any(ROOT.glob(f"midigpt_core/**/{path}")):
        return True
    return bool(test) and f"def {test}(" not in (ROOT / path).read_text(encoding="utf-8")


def missing_command(words: list[str]) -> str | None:
    """The part of a command that does not exist."""
    program, arguments = words[0], words[1:]
    if program == "make":
        unknown = [word for word in arguments if "=" not in word and word not in make_targets()]
        return unknown[0] if unknown else None
    if program in OUTSIDE:
        return None
    if program in {"midigpt", ".venv/bin/midigpt"}:
        return missing_subcommand(arguments)
    if program.startswith(".venv/bin/"):
        if program.removeprefix(".venv/bin/") not in tools():
            return program
        if arguments[:1] == ["-m"] and arguments[1] not in tools() and missing_module(arguments[1]):
            return arguments[1]
        return None
    return None if os.access(ROOT / program, os.X_OK) and (ROOT / program).is_file() else program


def missing_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return not path.with_suffix(".py").is_file() and not (path / "__init__.py").is_file()


def missing_subcommand(words: list[str]) -> str | None:
    command: click.Command = root
    for word in words:
        # Options, and what a reader puts in, such as NAME.
        if word.startswith("-"):
            known = {name for parameter in command.params for name in parameter.opts}
            if word not in known | {"-h", "--help"}:
                return word
        elif isinstance(command, click.Group) and not word.isupper():
            found = command.get_command(click.Context(command), word)
            if found is None:
                return word
            command = found
    return None


def is_command(code: str) -> bool:
    return code.split(maxsplit=1)[0] in {"make", "midigpt"} or code.startswith((".venv/bin/", ".ci/"))


def missing(page: str) -> list[str]:
    """Commands, targets, options and files in the code of ``page`` that do not exist."""
    lines = [line for match in FENCE.finditer(page) for line in match["body"].splitlines() if line.strip()]
    spans = [match["code"] for match in SPAN.finditer(FENCE.sub("", page))]
    prose = [line for line in lines if "`" in line]
    commands = [line for line in lines if line not in prose] + [code for code in spans if is_command(code)]
    spans = [code for code in spans if not is_command(code)] + [
        m["code"] for line in prose for m in SPAN.finditer(line)
    ]
    found = [word for code in spans for word in code.split() if missing_file(word)]
    for command in commands:
        words = shlex.split(command, comments=True)
        found += [part for part in [missing_command(words)] if part]
        found += [word for word in words[1:] if missing_file(word)]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_and_files_exist(page: Path) -> None:
    assert missing(page.read_text(encoding="utf-8")) == []


def test_the_commands_are_seen() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert text.count("```") >= 10
    for command in (
        "make setup",
        "make test",
        "make lint",
        "make goldens",
        "make baseline",
        ".ci/run",
        "towncrier build",
    ):
        assert command in text
    assert {"setup", "test", "lint", "goldens", "slow", "soak", "native-test", "fuzz-reader"} <= make_targets()
    assert "default" not in make_targets()


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("`make tests`", ["tests"]),
        ("```\nmake fuzz-readers FUZZ_RUNS=1   # one target\n```", ["fuzz-readers"]),
        ("```\n.venv/bin/python -m pytest tests/no_such_folder\n```", ["tests/no_such_folder"]),
        ("`tests/docs/test_doors.py::test_of_nothing`", ["tests/docs/test_doors.py::test_of_nothing"]),
        ("`tests/docs/test_doors.py::test_the_citation`", []),
        ("```\n.venv/bin/flake8 .\n```", [".venv/bin/flake8"]),
        ("```\n.venv/bin/python -m bench.nothing\n```", ["bench.nothing"]),
        ("```\nnox -s tests\n```", ["nox"]),
        ("`.ci/walk long`", [".ci/walk"]),
        ("`midigpt plugin list` and `midigpt plugins lists`", ["plugin", "lists"]),
        ("`midigpt plugins new NAME --sort mask`", ["--sort"]),
        ("`midigpt --no-plugins COMMAND`, `midigpt plugins new NAME --kind mask`", []),
        (
            "`docs/none.txt`, `nothing.toml`, `pyproject.toml`, `build/native`, `<issue>.<kind>.md`",
            ["docs/none.txt", "nothing.toml"],
        ),
    ],
)
def test_what_does_not_exist_is_found(page: str, found: list[str]) -> None:
    assert missing(page) == found


def test_the_versions_agree() -> None:
    module = (ROOT / "midigpt_core" / "__init__.py").read_text(encoding="utf-8")
    assert re.findall(r'^__version__ = "(.+)"$', module, re.MULTILINE) == [PROJECT["project"]["version"]]


def test_the_citation() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = PROJECT["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["message"]
    assert citation["title"] == project["name"]
    assert citation["abstract"] == project["description"]
    assert citation["authors"] == project["authors"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["keywords"] == project["keywords"]


def newest_sections() -> list[re.Match[str]]:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    start = PROJECT["tool"]["towncrier"]["start_string"]
    assert text.count(start) == 1, "towncrier writes a section after this line"
    head, _, body = text.partition(start)
    assert not HEADING.search(head)
    sections = list(HEADING.finditer(body))
    assert len(sections) == len(re.findall(r"^## ", body, re.MULTILINE)), "a heading is a version, then ' - ' and a day"
    return sections


def test_the_changelog_starts_at_this_version() -> None:
    newest, *older = newest_sections()
    assert newest["version"] in {"Unreleased", PROJECT["project"]["version"]}
    # After a release nothing stays behind under the old heading.
    assert all(section["version"] != "Unreleased" for section in older)
    assert all(section["day"] for section in older)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    released = citation.get("date-released")
    assert (str(released) if released else None) == newest["day"]


def test_changelog_groups_and_fragments_are_of_the_kinds_declared() -> None:
    settings = PROJECT["tool"]["towncrier"]
    kinds = {kind["directory"]: kind["name"] for kind in settings["type"]}
    text = (ROOT / settings["filename"]).read_text(encoding="utf-8")
    groups = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert groups
    assert set(groups) <= set(kinds.values())
    folder = ROOT / settings["directory"]
    assert all(f"| `{kind}` |" in (folder / "README.md").read_text(encoding="utf-8") for kind in kinds)
    for fragment in folder.iterdir():
        if fragment.name != "README.md":
            assert re.fullmatch(rf"(\d+|\+[\w-]+)\.({'|'.join(kinds)})\.md", fragment.name), fragment.name
            assert fragment.read_text(encoding="utf-8").strip(), fragment.name
            assert not fragment.read_text(encoding="utf-8").startswith("-"), f"{fragment.name}: without a leading dash"


def lint_commands() -> set[str]:
    recipe = re.search(r"^lint:.*\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe
    lines = (line.strip().removesuffix(" .").removesuffix(" $(CXX_FILES)") for line in recipe[1].splitlines())
    return {line.replace("$(BIN)", ".venv/bin") for line in lines}


def test_the_hooks_run_what_lint_runs() -> None:
    hooks: list[dict[str, Any]] = [
        hook
        for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
        for hook in repository["hooks"]
    ]
    entries = {hook["entry"].removesuffix(" --force-exclude") for hook in hooks}
    assert entries <= lint_commands()
    assert {
        ".venv/bin/ruff check",
        ".venv/bin/ruff format --check",
        ".venv/bin/clang-format --dry-run --Werror",
    } <= entries
    # Without it ruff would check a file that pyproject.toml excludes.
    assert all(hook["entry"].endswith("--force-exclude") for hook in hooks if "/ruff " in hook["entry"])


def test_the_editor_keeps_the_lines_of_the_formatters() -> None:
    text = (ROOT / ".editorconfig").read_text(encoding="utf-8")
    assert text.startswith(("#", "root"))
    style: dict[str, Any] = yaml.safe_load((ROOT / ".clang-format").read_text(encoding="utf-8"))
    assert style["ColumnLimit"] == PROJECT["tool"]["ruff"]["line-length"]
    assert re.findall(r"^max_line_length = (\d+)$", text, re.MULTILINE) == [str(style["ColumnLimit"])]
    indents = {
        suffix: int(section[2])
        for section in re.finditer(r"^\[\*\.\{(.+)\}\]\nindent_size = (\d+)$", text, re.MULTILINE)
        for suffix in section[1].split(",")
    }
    assert indents["cpp"] == indents["h"] == style["IndentWidth"]


def test_one_version_of_clang_format_is_installed() -> None:
    [pin] = [line for line in PROJECT["project"]["optional-dependencies"]["dev"] if line.startswith("clang-format")]
    assert pin in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def test_the_native_code_is_formatted() -> None:
    files = [
        path for folder in ("csrc", "tests") for path in (ROOT / folder).rglob("*") if path.suffix in {".cpp", ".h"}
    ]
    assert len(files) > 100
    formatter = Path(sysconfig.get_path("scripts")) / "clang-format"
    ended = subprocess.run([formatter, "--dry-run", "--Werror", *files], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_issue_forms(form: Path) -> None:
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert set(content) == {"name", "description", "labels", "body"}
    ids = [field["id"] for field in content["body"]]
    assert len(ids) == len(set(ids))
    for field in content["body"]:
        assert field["type"] in {"textarea", "input", "dropdown"}
        assert field["attributes"]["label"]
        options = field["attributes"].get("options", [])
        assert bool(options) == (field["type"] == "dropdown")
        assert all(isinstance(option, str) for option in options)


def test_every_kind_of_issue_has_a_form() -> None:
    assert [form.stem for form in FORMS] == ["bug", "feature", "plugin"]
