"""Configuration files that cannot be read."""

from __future__ import annotations

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
        ("c.json", "[1]", r"c.json: holds list, not a mapping"),
        ("c.json", '{"a": 1, "a": 2}', r"key 'a' stands twice"),
        ("c.yaml", "a: [", r"c.yaml: is not valid YAML"),
        ("c.yaml", "a: 1\na: 2\n", r"key 'a' stands twice \(line 2\)"),
        ("c.yaml", "a: !!python/object/apply:os.getcwd []", r"is not valid YAML"),
        ("c.toml", "a = ", r"c.toml: is not valid TOML"),
        ("c.toml", "a = 1\na = 2\n", r"is not valid TOML"),
        ("c.ini", "a = 1", r"c.ini: a configuration is a \.json, \.toml, \.yaml, \.yml file"),
    ],
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
