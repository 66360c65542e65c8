"""What pages and workflows may name: make targets, commands, options and files that exist."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from pathlib import Path

import click

from midigpt_core.cli.root import root

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

FENCE = re.compile(r"^ *```\n(?P<body>.*?)^ *```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`(?P<code>[^`\n]+)`")
#: Programs that this project neither makes nor declares.
OUTSIDE = {"git", "sha256sum", ".venv/bin/pre-commit"}
#: What every environment has.
OF_PYTHON = {"python", "pip"}
#: A file by its suffix, or the start of a name that stands for several.
FILE = re.compile(r"[\w.-]+\.(md|py|toml|txt|cff|mk|yml|yaml)")


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
