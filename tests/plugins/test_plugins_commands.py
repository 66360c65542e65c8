"""``midigpt plugins list`` and ``show``: statuses, tables, engines and commands, JSON Schema."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
from attrs import field, frozen
from attrs.validators import and_, ge, in_, le, lt, max_len, min_len, optional

from midigpt_core.cli.main import main
from midigpt_core.config.json_schema import schema_of
from midigpt_core.config.structure import structure_class
from midigpt_core.errors import ConfigError
from midigpt_core.kinds import Kind
from midigpt_core.plugins import Selection, discover


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """What a command prints; on failure the error."""
    assert main([str(argument) for argument in arguments]) == code
    out, err = capsys.readouterr()
    return err if code else out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "broken.py").write_text("MIDIGPT_API = 1\nimport not_installed_anywhere\n")
    return tmp_path


def test_a_broken_plugin_is_not_shown_as_active(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(capsys, "--plugins-dir", folder, "plugins", "show", "broken").splitlines()
    assert shown[0].startswith(f"plugin 'broken' ({folder}/broken.py), broken, module broken, imported in ")
    assert shown[1] == "  error: ModuleNotFoundError: No module named 'not_installed_anywhere' (while it was imported)"
    for command in (["show", "broken"], ["list", "--components"]):
        found = json.loads(run(capsys, "--plugins-dir", folder, "plugins", *command, "--json"))
        assert [entry["status"] for entry in found if entry["name"] == "broken"] == ["broken"]
        assert {entry["status"] for entry in found if entry["name"] != "broken"} <= {"active"}


def test_options_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "plugins", "show", "masking").splitlines()
    first = lines.index("  mask structured: masks the bars that follow a point in time, in most tracks")
    assert [line.split(maxsplit=1)[0] for line in lines[first + 1 : first + 4]] == [
        "requires",
        "option",
        "max_lookahead",
    ]
    header, row = lines[first + 2], lines[first + 3]
    assert row[header.index("type") :].startswith("an integer")
    assert row[header.index("default") :].startswith("4 ")
    assert row[header.index("meaning") :] == "Most bars that are masked after the point in time."


def test_engines_and_commands_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [line.split() for line in run(capsys, "plugins", "list").splitlines()]
    assert ["engine", "ray", "0.1.0", "midigpt-core", "midigpt_ray.engine:build", "active"] in rows
    assert ["command", "serve", "0.1.0", "midigpt-core", "midigpt_server.command:serve", "active"] in rows
    entries = json.loads(run(capsys, "plugins", "list", "--json"))
    assert [entry["name"] for entry in entries if entry["what"] == "engine"] == ["ray"]
    assert {entry["name"] for entry in entries if entry["what"] == "plugin"} == {e.name for e in discover(Selection())}
    shown = run(capsys, "plugins", "show", "serve")
    assert shown.startswith("command 'serve' (midigpt-core 0.1.0), active, midigpt_server.command:serve, imported in ")
    assert shown.endswith("  Answer music programs over HTTP: REAPER's midigpt scripts, or your own.\n")
    (found,) = json.loads(run(capsys, "plugins", "show", "ray", "--json"))
    assert (found["what"], found["error"]) == ("engine", "")


def test_a_missing_option_is_one_error_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    error = run(capsys, "plugins", "new", "foo", "--folder", tmp_path, code=2)
    assert error == (
        "Error: Missing option '--kind'. Choose from: adapter, architecture, attribute, callback, checkpoint-format, "
        "command, encoder, logger, mask, metric, optimizer, source. 'midigpt plugins new --help' shows the usage.\n"
    )


def test_an_article_fits_its_kind() -> None:
    assert {kind.with_article.split()[0] for kind in Kind if kind.words[0] in "aeiou"} == {"an"}
    assert {kind.with_article.split()[0] for kind in Kind if kind.words[0] not in "aeiou"} == {"a"}


@pytest.mark.parametrize("kind", Kind)
def test_every_scaffold_reads_with_the_right_article(kind: Kind, tmp_path: Path) -> None:
    assert main(["plugins", "new", "acme", "--kind", kind, "--folder", str(tmp_path)]) == 0
    written = tmp_path / "midigpt-plugin-acme"
    assert f"\n{kind.with_article.capitalize()} for midigpt-core.\n" in (written / "README.md").read_text()
    assert f'description = "{kind.with_article.capitalize()} for' in (written / "pyproject.toml").read_text()


# --- JSON Schema ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", discover(Selection(third_parties=False)), ids=lambda entry: entry.name)
def test_every_bundled_plugin_has_a_schema_that_takes_its_defaults(
    entry: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = json.loads(run(capsys, "plugins", "show", entry.name, "--json-schema"))
    jsonschema.Draft202012Validator.check_schema(schema)
    (report,) = json.loads(run(capsys, "plugins", "show", entry.name, "--json"))
    assert len(schema["$defs"]) == len(report["components"])
    for component in report["components"]:
        setting = Kind(component["kind"]).setting
        block = {"name": component["name"]} | {option["name"]: option["default"] for option in component["options"]}
        part = {**schema, "$ref": f"#/$defs/{setting}.{entry.name}.{component['name']}"}
        jsonschema.validate(block, part, jsonschema.Draft202012Validator)
        assert set(part["$defs"][f"{setting}.{entry.name}.{component['name']}"]["properties"]) == set(block)


def test_a_schema_takes_and_refuses_what_a_configuration_does(capsys: pytest.CaptureFixture[str]) -> None:
    schema = json.loads(run(capsys, "plugins", "show", "masking", "--json-schema"))
    fits = jsonschema.Draft202012Validator(schema).is_valid
    for mask in ("structured", "masking/mixed", {"name": "structured", "max_lookahead": 2}, {"name": "masking/random"}):
        assert fits({"mask": mask, "batch_size": 8})
    for mask in (
        "swing",
        {"name": "structured", "max_lookahead": 0},
        {"name": "structured", "max_lookahead": "2"},
        {"name": "structured", "bar_fraction": 0.5},
        {"max_lookahead": 2},
    ):
        assert not fits({"mask": mask})


def test_a_schema_takes_lists_of_components(capsys: pytest.CaptureFixture[str]) -> None:
    fits = jsonschema.Draft202012Validator(
        json.loads(run(capsys, "plugins", "show", "metrics", "--json-schema"))
    ).is_valid
    assert fits({"metrics": ["groove", {"name": "metrics/groove", "grid": 4}]})
    assert not fits({"metrics": ["grove"]})
    assert not fits({"metrics": [{"name": "groove", "grid": "4"}]})
    fits = jsonschema.Draft202012Validator(
        json.loads(run(capsys, "plugins", "show", "attributes", "--json-schema"))
    ).is_valid
    assert fits({"encoder": {"name": "midigpt", "attributes": ["syncopation"]}})
    assert not fits({"encoder": {"name": "midigpt", "attributes": ["syncopations"]}})
    # It is chosen by its name alone.
    assert not fits({"encoder": {"name": "midigpt", "attributes": [{"name": "syncopation"}]}})


def test_no_schema_of_what_has_no_options_or_is_broken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = run(capsys, "plugins", "show", "ray", "--json-schema", code=2)
    assert error == (
        "Error: engine 'ray' (midigpt-core 0.1.0) provides no component, so there is nothing to choose in a "
        "configuration.\n"
    )
    error = run(capsys, "--plugins-dir", folder, "plugins", "show", "broken", "--json-schema", code=2)
    assert "No module named 'not_installed_anywhere'" in error
    assert error.endswith("Repair or uninstall it.\n")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@frozen
class Inner:
    depth: int = 1


@frozen
class Options:
    flag: bool = False
    count: int = field(default=2, validator=and_(ge(1), lt(10)))
    share: float = field(default=0.5, validator=le(1.0))
    maybe: int | None = field(default=None, validator=optional(ge(3)))
    text: str = field(default="ab", validator=[min_len(1), max_len(4)])
    choice: Literal["a", "b"] = "a"
    chosen: str = field(default="x", validator=in_(["x", "y"]))
    colour: Colour = Colour.RED
    path: Path = Path("here")
    names: tuple[str, ...] = field(default=("n",), validator=min_len(1))
    pair: tuple[int, float] = (1, 2.0)
    table: dict[str, int] = field(factory=dict)
    inner: Inner = Inner()
    free: Any = None


GOOD: dict[str, list[Any]] = {
    "flag": [True], "count": [1, 9], "share": [1, 0.25], "maybe": [None, 3], "text": ["a"], "choice": ["b"],
    "chosen": ["y"], "colour": ["blue"], "path": ["p"], "names": [["a", "b"]], "pair": [[3, 0.5]], "table": [{"k": 1}],
    "inner": [{"depth": 2}], "free": [[1, "x"]],
}  # fmt: skip
WRONG: dict[str, list[Any]] = {
    "flag": [1, "true"], "count": [0, 10, 2.5, "2"], "share": [1.5, "1"], "maybe": [2, "x"], "text": ["", "abcde", 1],
    "choice": ["c"], "chosen": ["z"], "colour": ["green"], "path": [1], "names": [[], "ab", [1]],
    "pair": [[1], [1, 2, 3], ["a", 1]], "table": [{"k": "v"}, []], "inner": [{"width": 1}, {"depth": "x"}],
}  # fmt: skip


def test_a_schema_agrees_with_the_reader_of_configurations() -> None:
    schema = schema_of(Options, {"count": "How many."})
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["count"]["description"] == "How many."
    fits = jsonschema.Draft202012Validator(schema).is_valid
    defaults = {name: part["default"] for name, part in schema["properties"].items()}
    assert fits(defaults)
    assert structure_class(defaults, Options, "x") == Options()
    assert set(GOOD) == set(schema["properties"])
    for name, values in GOOD.items():
        for value in values:
            structure_class({name: value}, Options, "x")
            assert fits({name: value}), (name, value)
    for name, values in {**WRONG, "unknown": [1]}.items():
        for value in values:
            with pytest.raises(ConfigError):
                structure_class({name: value}, Options, "x")
            assert not fits({name: value}), (name, value)
