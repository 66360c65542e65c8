"""Every mishap that a plugin can have: its message, and that the rest stays usable."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import attrs
import pytest

from midigpt_core.cli import main
from midigpt_core.contracts import EncoderContext, MaskContext
from midigpt_core.errors import ComponentError, ConfigError, PluginError
from midigpt_core.plugins import Selection, build, discover, load_registry

from .conftest import THIRD_PARTY_PACKAGES

if TYPE_CHECKING:
    from .conftest import Environment

pytestmark = pytest.mark.usefixtures("third_parties")

BUNDLED = {
    "adapters",
    "attributes",
    "bundles",
    "encoder",
    "gigamidi",
    "gpt2",
    "legacy",
    "llama",
    "loggers",
    "masking",
    "metrics",
    "midifiles",
    "optimizers",
}

#: What is written when a broken plugin is set aside, by plugin.
WARNINGS = {
    "broken": "plugin 'broken' (midigpt-plugin-broken 0.2) is set aside: ModuleNotFoundError: No module named "
    "'not_installed_anywhere' (while it was imported). Repair or uninstall it, or pass --no-plugin broken.",
    "quitter": "plugin 'quitter' (midigpt-plugin-quitter 0.2) is set aside: it called sys.exit('licence expired') "
    "while it was imported. Repair or uninstall it, or pass --no-plugin quitter.",
    "typo": "plugin 'typo' (midigpt-plugin-typo 0.4) is set aside: unknown hook 'midigpt_maks'. Did you mean "
    "'midigpt_masks'? Repair or uninstall it, or pass --no-plugin typo.",
    "future": "plugin 'future' (midigpt-plugin-future 7.0) is set aside: it is written for plugin API 2, and this is "
    "API 1. Repair or uninstall it, or pass --no-plugin future.",
    "twin": "plugin name 'twin' is claimed by midigpt-plugin-twin-a 1.0 and midigpt-plugin-twin-b 2.0, so none of them "
    "is used. Use --plugin midigpt-plugin-twin-a or --plugin midigpt-plugin-twin-b.",
}


def test_broken_plugins_are_set_aside_with_one_line_each(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "midigpt_core.plugins"):
        registry = load_registry()
    lines = [record.getMessage() for record in caplog.records]
    assert sorted(lines) == sorted(WARNINGS.values())
    # The rest works: bundled and third parties alike.
    assert build(registry.resolve("mask", "structured"), MaskContext()) is not None
    assert build(registry.resolve("mask", "waltz"), MaskContext()).period == 2


@pytest.mark.parametrize("name", ["broken", "quitter", "typo", "future"])
def test_a_broken_plugin_is_fatal_when_it_was_asked_for(name: str) -> None:
    with pytest.raises(PluginError, match=rf"^plugin '{name}' \(midigpt-plugin-{name} .*\) cannot be used: .*"):
        load_registry(Selection(plugins=(name,)))


def test_a_plugin_that_fails_when_asked_for_its_records(caplog: pytest.LogCaptureFixture) -> None:
    registry = load_registry()
    caplog.clear()
    assert "structured" in [spec.name for spec in registry.specs("mask")]
    assert [record.getMessage() for record in caplog.records] == [
        "plugin 'faulty' (midigpt-plugin-faulty 0.5) is set aside: ValueError: no licence key (in midigpt_masks). "
        "Repair or uninstall it, or pass --no-plugin faulty."
    ]
    with pytest.raises(PluginError, match="no licence key"):
        load_registry(Selection(plugins=("faulty",))).specs("mask")


def test_one_plugin_name_in_two_distributions() -> None:
    statuses = {entry.distribution: entry.status for entry in discover(Selection()) if entry.name == "twin"}
    assert statuses == {"midigpt-plugin-twin-a": "conflict", "midigpt-plugin-twin-b": "conflict"}
    with pytest.raises(PluginError, match=r"plugin name 'twin' is claimed by midigpt-plugin-twin-a 1.0 and"):
        load_registry(Selection(plugins=("twin",)))
    chosen = load_registry(Selection(plugins=("midigpt-plugin-twin-b",)))
    assert chosen.resolve("mask", "right").version == "2.0"
    with pytest.raises(PluginError, match="no mask named 'left'"):
        chosen.resolve("mask", "left")
    alone = load_registry(Selection(disabled=("midigpt-plugin-twin-a",)))
    assert alone.resolve("mask", "twin/right").distribution == "midigpt-plugin-twin-b"


def test_one_component_name_in_two_plugins() -> None:
    registry = load_registry()
    with pytest.raises(PluginError) as caught:
        registry.resolve("mask", "swing")
    assert str(caught.value) == (
        "mask 'swing' is provided by midigpt-plugin-acme 0.3 (acme) and midigpt-plugin-zed 1.1 (zed). "
        "Use --mask acme/swing or --mask zed/swing."
    )
    assert registry.resolve("mask", "acme/swing").version == "0.3"
    assert registry.resolve("mask", "midigpt-plugin-zed/swing").version == "1.1"


def test_bundled_names_are_reserved() -> None:
    registry = load_registry()
    assert registry.resolve("mask", "structured").distribution == "midigpt-core"
    assert registry.resolve("mask", "acme/structured").distribution == "midigpt-plugin-acme"


def test_an_unknown_name_says_what_there_is() -> None:
    registry = load_registry(Selection(third_parties=False))
    with pytest.raises(PluginError) as caught:
        registry.resolve("mask", "structred")
    assert str(caught.value) == (
        "no mask named 'structred'. Did you mean 'structured'? Available: mixed, random, structured."
    )


def test_a_missing_capability() -> None:
    registry = load_registry(Selection(third_parties=False))
    mask = registry.resolve("mask", "structured")
    encoder = registry.resolve("encoder", {"name": "midigpt", "config": "yellow"})
    registry.check_requires(mask, encoder, {"mask_bar", "infill"})
    with pytest.raises(PluginError) as caught:
        registry.check_requires(mask, encoder, build(encoder, EncoderContext()).provides)
    assert str(caught.value) == (
        "mask 'structured' needs an encoder with 'mask_bar'; encoder 'midigpt' (yellow) does not provide it."
    )


def test_options_are_strict() -> None:
    registry = load_registry()
    with pytest.raises(ConfigError, match=r"^mask\.perod: unknown option\. Did you mean 'period'\?$"):
        build(registry.resolve("mask", {"name": "acme/swing", "perod": 3}), MaskContext())
    with pytest.raises(ConfigError, match=r"^mask\.period: must be >= 1: 0"):
        build(registry.resolve("mask", {"name": "acme/swing", "period": 0}), MaskContext())
    assert build(registry.resolve("mask", {"name": "acme/swing", "period": 3}), MaskContext()).period == 3


def test_a_factory_that_is_not_there_is_the_plugins_bug() -> None:
    ref = attrs.evolve(load_registry().resolve("mask", "acme/swing"), target="midigpt_plugin_acme.component:missing")
    with pytest.raises(
        ComponentError, match=r"^mask 'swing' of midigpt-plugin-acme 0\.3 failed \(while .*missing"
    ) as caught:
        build(ref, MaskContext())
    assert isinstance(caught.value.__cause__, AttributeError)


def test_selecting_plugins() -> None:
    def active(**settings: object) -> set[str]:
        return {entry.name for entry in discover(Selection(**settings)) if entry.is_active}  # type: ignore[arg-type]

    assert active(third_parties=False) == BUNDLED
    assert active(third_parties=False, plugins=("acme",)) == BUNDLED | {"acme"}
    assert "zed" not in active(disabled=("midigpt_plugin_zed",))
    with pytest.raises(PluginError, match=r"--no-plugin acmee: no such plugin\. Did you mean 'acme'\?"):
        active(disabled=("acmee",))
    with pytest.raises(PluginError, match=r"--plugin zeds: no such plugin\. Did you mean 'zed'\?"):
        active(plugins=("zeds",))
    with pytest.raises(PluginError, match="--plugin acme and --no-plugin contradict one another"):
        active(plugins=("acme",), disabled=("acme",))


def test_the_environment_variable_asks_for_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDIGPT_PLUGINS", "acme, broken")
    with pytest.raises(PluginError, match=r"plugin 'broken' .* cannot be used"):
        load_registry()


def test_the_source_of_a_plugin_that_was_asked_for() -> None:
    assert load_registry(Selection(plugins=("folder",))).source_of_selection() == "folder/folder"
    assert load_registry(Selection(plugins=("gigamidi",))).source_of_selection() == "gigamidi/gigamidi"
    assert load_registry(Selection(plugins=("acme",))).source_of_selection() is None
    with pytest.raises(PluginError, match="several data sources: gigamidi/gigamidi, folder/folder"):
        load_registry(Selection(plugins=("folder", "gigamidi"))).source_of_selection()


def test_order_bundled_first_then_third_parties_by_name() -> None:
    names = [entry.name for entry in discover(Selection())]
    assert names[: len(BUNDLED)] == sorted(BUNDLED)
    assert names[len(BUNDLED) :] == sorted(names[len(BUNDLED) :])


LIST_AND_REPORT = """
import json, sys
from midigpt_core.cli import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.mark.parametrize("command", [["--help"], ["plugins", "list"], ["plugins", "list", "--json"], ["version"]])
def test_listing_imports_no_plugin_and_nothing_heavy(environment: Environment, command: list[str]) -> None:
    done = environment.run("-c", LIST_AND_REPORT, *command)
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0
    heavy = {"torch", "lightning", "transformers", "pyarrow", "numpy", "cattrs", "rich"}
    assert heavy.isdisjoint(modules)
    assert {f"midigpt_{name}" for name in BUNDLED}.isdisjoint(modules)
    assert [name for name in modules if name.split(".")[0] in THIRD_PARTY_PACKAGES] == []


def test_listing_in_a_real_environment(environment: Environment) -> None:
    done = environment.midigpt("plugins", "list", "--json", "--no-plugin", "zed")
    assert done.returncode == 0, done.stderr
    entries = json.loads(done.stdout)
    statuses = {entry["name"]: entry["status"] for entry in entries}
    assert statuses["gigamidi"] == statuses["acme"] == statuses["broken"] == "active"
    assert statuses["zed"] == "disabled"
    assert statuses["twin"] == "conflict"
    assert statuses["future"] == "incompatible"
    assert done.stderr == ""
    commands = {(entry["name"], entry["distribution"]): entry for entry in entries if entry["what"] == "command"}
    assert commands["hello", "midigpt-hello"]["status"] == "active"
    assert commands["greet", "midigpt-hello"]["status"] == commands["greet", "midigpt-greet"]["status"] == "conflict"
    assert commands["train", "midigpt-greet"]["reason"] == "'train' is a command of midigpt-core"
    assert [entry["version"] for entry in entries if entry["name"] == "acme"] == ["0.3"]


def test_a_command_that_cannot_be_imported_is_shown_as_broken(environment: Environment) -> None:
    listed = environment.midigpt("plugins", "list")
    assert "command 'train' (midigpt-greet 3.0): 'train' is a command of midigpt-core. Uninstall" in listed.stderr
    assert "goodbye" in listed.stdout
    shown = environment.midigpt("plugins", "show", "goodbye")
    assert shown.returncode == 0
    assert shown.stdout.startswith("command 'goodbye' (midigpt-hello 0.1), broken, midigpt_hello_broken:goodbye, ")
    assert "\n  error: RuntimeError: not today (while it was imported)\n" in shown.stdout


def test_commands_are_left_out_with_their_plugins(capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["--no-plugins"], ["--no-plugin", "hello"], ["--no-plugin", "midigpt-hello"]):
        assert main([*flags, "hello"]) == 2
        assert "command 'hello' is a plugin's, which --no-plugins or --no-plugin leaves out" in capsys.readouterr().err
    assert main(["--no-plugins", "--plugin", "midigpt-hello", "hello"]) == 0
    assert main(["--no-plugins", "serve", "--help"]) == 0
