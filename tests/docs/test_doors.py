"""What a contributor, a citation and a release start from names only what exists."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml
from midigpt_server.command import http, serve

from support.commands import PROJECT, ROOT, make_targets, missing

FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PAGES = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "docs" / "releasing.md",
    ROOT / "changelog.d" / "README.md",
    ROOT / ".github" / "pull_request_template.md",
    *FORMS,
]

HEADING = re.compile(r"^## (?P<version>\S+)(?: - (?P<day>\d{4}-\d\d-\d\d))?$", re.MULTILINE)


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


def test_one_extra_is_all_that_a_user_may_want() -> None:
    extras = dict(PROJECT["project"]["optional-dependencies"])
    [everything] = extras.pop("all")
    name, _, named = everything.rstrip("]").partition("[")
    assert name == PROJECT["project"]["name"]
    assert set(named.split(",")) == set(extras) - {"test", "dev", "docs"}
    # What an extra adds is tested.
    tested = {*extras["test"], *extras["dev"]}
    assert [line for extra in named.split(",") for line in extras[extra] if line not in tested] == []


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


def test_security_says_which_commands_listen_to_the_network() -> None:
    promised, _, rest = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("## What is not promised")
    for name, command, where in (("`midigpt serve`", serve, promised), ("`midigpt-http`", http, rest)):
        (host,) = [option.default for option in command.params if option.name == "host"]
        assert host == ("127.0.0.1" if where is promised else "0.0.0.0")
        assert name in where
