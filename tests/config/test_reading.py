"""Configuration files that cannot be read."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from midigpt_core.config.reading import read_mapping
from midigpt_core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.json", "{", r"c.json: is not valid JSON: .*line 1"),
        ("c.json", "[1]", r"c.json: contains list, not a mapping"),
        ("c.json", '{"a": 1, "a": 2}', r"key 'a' occurs twice"),
        ("c.yaml", "a: [", r"c.yaml: is not valid YAML"),
        ("c.yaml", "a: 1\na: 2\n", r"key 'a' occurs twice \(line 2\)"),
        ("c.yaml", "a: !!python/object/apply:os.getcwd []", r"is not valid YAML"),
        ("c.toml", "a = ", r"c.toml: is not valid TOML"),
        ("c.toml", "a = 1\na = 2\n", r"is not valid TOML"),
        ("c.yaml", "a: 1\n? [1, 2]\n: 3\n", r"is not valid YAML: .*unhashable key at line 2"),
        ("c.yaml", "? {a: 1}\n: 3\n", r"is not valid YAML: .*unhashable key at line 1"),
        ("c.yaml", "a: !!timestamp abc", r"is not valid YAML: .*timestamp' at line 1, column 4"),
        ("c.yaml", "a: !!set {b}", r"is not valid YAML: .*set' at line 1, column 4"),
        ("c.yaml", "a: !!bool maybe", r"is not valid YAML: 'maybe' is not true or false at line 1, column 4"),
        ("c.yaml", 'a: !!int ""', r"is not valid YAML: '' is not an integer of at most 1,000 digits at line 1"),
        ("c.yaml", 'a: !!float ""', r"is not valid YAML: '' is not a number of at most 1,000 digits at line 1"),
        ("c.yaml", "a: !!int [1]", r"is not valid YAML"),
        ("c.yaml", f"a: {'1:' * 100_000}1", r"is not an integer of at most 1,000 digits"),
        ("c.yaml", f"a: {'1' * 5000}", r"is not an integer of at most 1,000 digits"),
        ("c.yaml", f"a: 0x{'f' * 999_999}", r"is not an integer of at most 1,000 digits"),
        ("c.json", f'{{"a": {"1" * 5000}}}', r"it contains an integer that is not of at most 1,000 digits"),
        ("c.toml", f"a = {'1' * 5000}", r"it contains an integer that is not of at most 1,000 digits"),
        ("c.toml", f"a = [{{b = 0x{'f' * 5000}}}]", r"it contains an integer that is not of at most 1,000 digits"),
        ("c.json", f'{{"a": {"[" * 900}{"]" * 900}}}', r"its values nest deeper than 100 levels"),
        ("c.json", f'{{"a": {"[" * 90_000}', r"its values nest too deep"),
        ("c.yaml", f"a: {'[' * 90_000}", r"is not valid YAML"),
        ("c.yaml", "a: &a [*a]", r"its values nest deeper than 100 levels"),
        ("c.json", "{" + ", ".join(f'"k{n}": 1' for n in [*range(99_999), 7]) + "}", r"key 'k7' occurs twice"),
        ("c.ini", "a = 1", r"c.ini: a configuration is a \.json, \.toml, \.yaml, \.yml file"),
    ],
    ids=lambda value: value[:24],
)
def test_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_mapping(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_and_binary(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.json: cannot be read \(No such file or directory\)"):
        read_mapping(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_mapping(tmp_path / "b.json")


def test_yaml_numbers_without_a_point(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("learning_rate: 1e-4\nname: e4\nfile: 1e-4.json\n")
    assert read_mapping(tmp_path / "c.yaml") == {"learning_rate": 1e-4, "name": "e4", "file": "1e-4.json"}


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("\n")
    assert read_mapping(tmp_path / "c.yaml") == {}


def test_aliases_of_aliases_are_refused_at_once(tmp_path: Path) -> None:
    """Eleven lists, each of ten aliases of the one before: 10**11 values in 600 bytes."""
    lists = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (tmp_path / "c.yaml").write_text("\n".join(["a0: &a0 [x]", *lists]))
    begin = time.process_time()
    with pytest.raises(ConfigError, match=r"1,000,000 values.* aliased"):
        read_mapping(tmp_path / "c.yaml")
    assert time.process_time() - begin < 5


def test_aliases_of_ordinary_size_and_days(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("a: &a {b: 1, c: 2}\ne: [*a, *a]\nday: 2026-11-29\n")
    shared = {"b": 1, "c": 2}
    assert read_mapping(tmp_path / "c.yaml") == {"a": shared, "e": [shared, shared], "day": "2026-11-29"}


@pytest.mark.parametrize(("name", "text"), [("c.json", '{"a": 1}'), ("c.yaml", "a: 1"), ("c.toml", "a = 1")])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_mapping(tmp_path / name) == {"a": 1}


def test_only_regular_files_of_bounded_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    (tmp_path / "folder.json").mkdir()
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(1 << 40)
    for name, reason in {
        "pipe.json": "is a named pipe, not a regular file",
        "zero.json": "is a device, not a regular file",
        "folder.json": "Is a directory",
        "large.yaml": "is larger than the limit of 16,777,216 bytes",
    }.items():
        with pytest.raises(ConfigError, match=rf"{name}: cannot be read \({reason}\)"):
            read_mapping(tmp_path / name)
    with pytest.raises(ConfigError, match="configuration is empty"):
        read_mapping("")
