"""Every page, section, rule and file that code, tests and docs cite exists."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FOLDERS = ("midigpt_core", "plugins", "csrc", "tests", "bench", "docs", ".github")
SUFFIXES = {".py", ".pyi", ".h", ".cpp", ".c", ".md", ".mk", ".toml", ".txt", ".sh"}
#: Records of what was true when they were written, and this file's examples.
NOT_HELD = {ROOT / "CHANGELOG.md", ROOT / "bench" / "results" / "latest.md", Path(__file__).resolve()}

SPECIFICATION = DOCS / "encoder-specification.md"
#: C.4, "C.4 rule 5", "E.2, 11": a section of the specification and an item of its list.
SECTION = re.compile(r"(?<![\w.])(?P<section>[A-I]\.\d+)(?![\w.]*\d)(?:(?:,| rule) (?P<item>\d+)\b)?")
CHAPTER = re.compile(r"(?:encoder-specification\.md|encoder specification), (?P<chapter>[A-Z])(?![\w.])")
#: A file that cites a section names its page once.
SPECIFICATION_NAME = re.compile(r"encoder-specification\.md|encoder specification")
RULE = re.compile(r"architecture(?:\.md,)? rule (?P<rule>\d+)")
PAGE = re.compile(r"(?P<path>[\w./-]*\w\.md)(?P<anchor>#[\w-]+)?\b")
LINK = re.compile(r"\]\((?P<path>[^()\s#]*)(?P<anchor>#[^()\s]+)?\)")
#: A file of this repository by its path from the root; acme is the name of examples.
SOURCE = re.compile(
    r"(?<![\w./-])(?P<path>(?:midigpt_core|plugins|csrc|tests|bench|docs)/(?![\w./-]*acme)[\w./-]+\.(?:py|h|cpp|c|json|gz))\b"
)
URL = re.compile(r"\b[a-z]+://[^\s)>\]]+")
#: Code and pages, apart from tests and templates, which make up files of their own.
CITES_SOURCES = ("midigpt_core", "plugins", "csrc", "bench", "docs")


def scanned_files() -> list[Path]:
    found = [path for path in ROOT.iterdir() if path.suffix in SUFFIXES or path.name in {"Makefile", "CMakeLists.txt"}]
    found += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    # The fragments stand for text of the changelog, and their links start from the root.
    found.append(ROOT / "changelog.d" / "README.md")
    return sorted(path for path in found if path.is_file() and path not in NOT_HELD)


FILES = scanned_files()


def without_fences(page: str) -> str:
    return re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@cache
def anchors(page: Path) -> frozenset[str]:
    headings = re.findall(r"^#+ (.+?)\s*$", without_fences(page.read_text(encoding="utf-8")), re.MULTILINE)
    return frozenset(f"#{slug(heading)}" for heading in headings)


@cache
def sections() -> dict[str, frozenset[str]]:
    """Sections of the specification, with the numbers of the items in each, and its chapters."""
    page = SPECIFICATION.read_text(encoding="utf-8")
    parts = re.split(r"^### ([A-Z]\.\d+) .+$", page, flags=re.MULTILINE)
    found = {
        name: frozenset(re.findall(r"^(\d+)\. ", body, re.MULTILINE))
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }
    return found | dict.fromkeys(re.findall(r"^## ([A-Z])\. ", page, re.MULTILINE), frozenset())


@cache
def rules() -> frozenset[str]:
    body = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## Rules that tests hold")[2]
    return frozenset(re.findall(r"^(\d+)\. ", body.partition("\n## ")[0], re.MULTILINE))


@cache
def pages() -> dict[str, Path]:
    return {f"/{path.relative_to(ROOT).as_posix()}": path for path in [*FILES, *NOT_HELD] if path.suffix == ".md"}


def find_page(path: str, file: Path) -> Path | None:
    """A page as ``file`` names it: from its own folder, from the root, or by the end of its path."""
    for folder in (file.parent, ROOT, DOCS):
        if (folder / path).is_file():
            return folder / path
    return next((page for name, page in pages().items() if name.endswith(f"/{path}")), None)


def dangling(text: str, file: Path) -> list[str]:
    """What ``text`` of ``file`` cites that does not exist."""
    text = URL.sub("", text)
    # A citation may go on in the next line of a comment.
    flowing = re.sub(r"\s*\n[ \t]*(?://|#:?|\*)?[ \t]*", " ", text)
    missing = []
    for match in SECTION.finditer(flowing):
        items = sections().get(match["section"])
        if items is None or (match["item"] and match["item"] not in items):
            missing.append(match[0])
        elif file != SPECIFICATION and not SPECIFICATION_NAME.search(flowing):
            missing.append(f"{match[0]} of which page")
    missing += [match[0] for match in CHAPTER.finditer(flowing) if match["chapter"] not in sections()]
    missing += [match[0] for match in RULE.finditer(flowing) if match["rule"] not in rules()]
    for match in PAGE.finditer(text):
        page = find_page(match["path"], file)
        if page is None or (match["anchor"] and match["anchor"] not in anchors(page)):
            missing.append(match[0])
    if file.suffix == ".md":
        for match in LINK.finditer(without_fences(text)):
            target = (file.parent / match["path"]) if match["path"] else file
            if not target.exists() or (match["anchor"] and match["anchor"] not in anchors(target)):
                missing.append(match[0])
    parts = file.relative_to(ROOT).parts
    if (parts[0] in CITES_SOURCES or len(parts) == 1) and "templates" not in parts:
        missing += [match["path"] for match in SOURCE.finditer(text) if not (ROOT / match["path"]).exists()]
    return missing


def test_everything_that_is_cited_exists() -> None:
    found = {
        f"{file.relative_to(ROOT)}: {citation}"
        for file in FILES
        for citation in dangling(file.read_text(encoding="utf-8"), file)
    }
    assert found == set()


def test_the_citations_are_seen() -> None:
    cited = {
        match["section"]
        for file in FILES
        if file != SPECIFICATION
        for match in SECTION.finditer(file.read_text(encoding="utf-8"))
    }
    assert {"A.3", "A.7", "B.1", "B.2", "B.7", "C.4", "D.1", "E.1", "E.2", "F.1", "F.2", "F.5", "G.2", "G.4"} <= cited
    assert len(FILES) > 300


@pytest.mark.parametrize(
    ("file", "text", "missing"),
    [
        ("csrc/vocab/scales.h", "// Scales (docs/encoder-specification.md, E.2 and E.7)", ["E.7"]),
        ("csrc/vocab/scales.h", "// docs/encoder-specification.md, E.2, 12, (E.2,\n// 13)", ["E.2, 13"]),
        ("csrc/vocab/scales.h", "// the first rule (docs/encoder-specification.md, C.4 rule 7)", ["C.4 rule 7"]),
        (
            "csrc/vocab/scales.h",
            "// (docs/encoder-specification.md, E) (docs/encoder-specification.md, K)",
            ["encoder-specification.md, K"],
        ),
        ("csrc/vocab/scales.h", "// the first rule (C.4)", ["C.4 of which page"]),
        ("csrc/vocab/scales.h", "// docs/encoder.md and docs/decoder.md", ["docs/decoder.md"]),
        ("csrc/vocab/scales.h", "// csrc/vocab/scales.h, csrc/vocab/chords.h", ["csrc/vocab/chords.h"]),
        (
            "tests/conftest.py",
            "# docs/architecture.md, rule 5; docs/architecture.md, rule 50",
            ["architecture.md, rule 50"],
        ),
        (
            "midigpt_core/keys.py",
            "# docs/encoder.md#corrected-controls docs/encoder.md#controls",
            ["docs/encoder.md#controls"],
        ),
        ("docs/walk.md", "[a](../midigpt_core/keys.py) [b](../midigpt_core/locks.py)", ["](../midigpt_core/locks.py)"]),
        ("docs/walk.md", "[a](#6-the-bundle) [b](#7-the-bundle)", ["](#7-the-bundle)"]),
        ("README.md", "[a](docs/curves.png) [b](docs/curve.png) [c](https://example.org/x.md)", ["](docs/curve.png)"]),
    ],
)
def test_what_does_not_exist_is_found(file: str, text: str, missing: list[str]) -> None:
    assert dangling(text, ROOT / file) == missing
