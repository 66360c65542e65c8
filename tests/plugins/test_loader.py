"""Plugins as single files in a folder: what is taken for a plugin, and what a module may get wrong."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import pytest

from midigpt_core.contracts import MaskContext
from midigpt_core.errors import ComponentError, PluginError
from midigpt_core.plugins import Selection, build, discover, load_registry
from midigpt_core.plugins.describe import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from midigpt_core.plugins import Registry

MASK = """
from midigpt_core import hookimpl
from midigpt_core.components import MaskSpec, SourceSpec

MIDIGPT_API = 1

@hookimpl
def midigpt_masks():
    return [MaskSpec(name="local", summary="x", target="{module}:build")]

class Mask:
    def mask(self, valid, infill, keys):
        return valid & False

def build(options, context):
    return Mask()
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Registry]]:
    """Writes ``<name>.py`` files and loads the folder as ``--plugins-dir``."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write_and_load(**modules: str) -> Registry:
        for name, text in modules.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return load_registry(Selection(plugin_dirs=(str(tmp_path),)))

    yield write_and_load
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def only_cause(registry: Registry) -> str:
    (cause,) = registry.set_aside.values()
    return cause


def test_a_file_of_a_folder_is_a_plugin(load: Callable[..., Registry], tmp_path: Path) -> None:
    registry = load(localmask=MASK.format(module="localmask"), helpers="import missing_module\n")
    (entry,) = [entry for entry in registry.entries if entry.status == "local"]
    assert (entry.name, entry.distribution, entry.folder) == (
        "localmask",
        str(tmp_path / "localmask.py"),
        str(tmp_path),
    )
    ref = registry.resolve("mask", "local")
    assert ref.import_paths == (str(tmp_path),)
    assert type(build(ref, MaskContext())).__module__ == "localmask"


def test_a_package_of_a_folder_is_a_plugin(load: Callable[..., Registry]) -> None:
    registry = load(
        midigpt_plugin_pack__plugin=MASK.format(module="midigpt_plugin_pack.plugin"), midigpt_plugin_pack____init__=""
    )
    assert registry.resolve("mask", "pack/local").target == "midigpt_plugin_pack.plugin:build"


def test_the_current_folder_is_not_searched(
    load: Callable[..., Registry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(unasked=MASK.format(module="unasked"))
    monkeypatch.chdir(tmp_path)
    assert "unasked" not in [entry.name for entry in discover(Selection())]


def test_the_environment_variable_names_folders(
    load: Callable[..., Registry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(fromenv=MASK.format(module="fromenv"))
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("MIDIGPT_PLUGINS_DIR", os.pathsep.join([str(tmp_path / "other"), str(tmp_path)]))
    assert load_registry().resolve("mask", "local").plugin == "fromenv"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"--plugins-dir .*/none: is not a folder\. Check the path\."):
        discover(Selection(plugin_dirs=(str(tmp_path / "none"),)))


def test_a_module_name_that_is_taken(load: Callable[..., Registry]) -> None:
    assert "its module name 'colorsys' is taken by" in only_cause(load(colorsys=MASK.format(module="colorsys")))


def test_a_bundled_plugin_name_is_reserved(load: Callable[..., Registry], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "midigpt_core.plugins"):
        registry = load(masking=MASK.format(module="masking"))
    assert "is reserved for a bundled plugin" in caplog.text
    assert registry.resolve("mask", "random").distribution == "midigpt-core"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("def midigpt_masks():\n    return []\n", "midigpt_masks is not marked with @hookimpl"),
        ("@hookimpl\ndef midigpt_masks(run):\n    return []\n", "midigpt_masks"),
        ("@hookimpl(wrapper=True)\ndef midigpt_masks():\n    return (yield)\n", "midigpt_masks is a hook wrapper"),
        ("@hookimpl\ndef anything():\n    return []\n", "unknown hook 'anything'"),
        ("raise KeyError('x')\n", "KeyError: 'x'"),
    ],
)
def test_a_module_with_a_mistake(load: Callable[..., Registry], code: str, cause: str) -> None:
    registry = load(mistaken=f"from midigpt_core import hookimpl\nMIDIGPT_API = 1\n\n{code}")
    assert cause in only_cause(registry)
    assert registry.resolve("mask", "random").name == "random"


@pytest.mark.parametrize(
    ("returned", "cause"),
    [
        ("None", "TypeError"),
        ("['local']", "midigpt_masks returned str, not MaskSpec"),
        ("[SourceSpec(name='a', summary='', target='m:b')]", "midigpt_masks returned SourceSpec, not MaskSpec"),
        ("[MaskSpec(name='Bad Name', summary='', target='m:b')]", "name 'Bad Name' must be"),
        ("[MaskSpec(name='a', summary='', target='m:b')] * 2", "returned two components named 'a'"),
    ],
)
def test_records_with_a_mistake(load: Callable[..., Registry], returned: str, cause: str) -> None:
    registry = load(
        records=MASK.format(module="records").replace("return [MaskSpec", f"return {returned}\n    return [MaskSpec")
    )
    assert registry.set_aside == {}
    assert [spec.name for spec in registry.specs("mask")] == ["random", "structured", "mixed"]
    assert cause in only_cause(registry)
    with pytest.raises(PluginError, match=r"Available: mixed, random, structured\. Set aside: records\."):
        registry.resolve("mask", "local")


def test_ctrl_c_is_not_a_broken_plugin(load: Callable[..., Registry]) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(impatient="MIDIGPT_API = 1\nraise KeyboardInterrupt\n")


def test_callbacks_of_a_run(load: Callable[..., Registry]) -> None:
    text = "from midigpt_core import hookimpl\nMIDIGPT_API = 1\n\n@hookimpl\ndef midigpt_callbacks(run): return [run]\n"
    registry = load(calling=text)
    assert registry.callbacks("the run") == ["the run"]  # type: ignore[arg-type, comparison-overlap]


def test_callbacks_that_fail_end_the_run(load: Callable[..., Registry]) -> None:
    text = "from midigpt_core import hookimpl\nMIDIGPT_API = 1\n\n@hookimpl\ndef midigpt_callbacks(run):\n    1 / 0\n"
    with pytest.raises(ComponentError, match=r"callbacks of plugin 'failing' .*ZeroDivisionError"):
        load(failing=text).callbacks(None)  # type: ignore[arg-type]


def test_describing_every_bundled_plugin() -> None:
    reports = {entry.name: describe(entry) for entry in discover(Selection()) if entry.is_bundled}
    assert [report.error for report in reports.values()] == [""] * 13
    assert [component.error for report in reports.values() for component in report.components if component.error] == []
    random_mask = reports["masking"].components[0]
    assert (random_mask.kind, random_mask.name, random_mask.requires) == ("mask", "random", ("mask_bar",))
    (option,) = random_mask.options
    assert (option.name, option.type, option.default) == ("bar_fraction", "a number", 0.25)
    assert option.help


def test_describing_reads_the_comments_of_inherited_options(load: Callable[..., Registry], tmp_path: Path) -> None:
    classes = """
import attrs

@attrs.frozen
class Base:
    #: Every how many bars.
    period: int = 2
    #: Said by both.
    share: float = 0.5

@attrs.frozen
class Options(Base):
    #: Said by the last.
    share: float = 0.25
    first: int = 0
"""
    text = MASK.format(module="inheriting").replace(':build")', ':build", options="inheriting:Options")')
    load(inheriting=text + classes)
    (entry,) = [entry for entry in discover(Selection(plugin_dirs=(str(tmp_path),))) if entry.status == "local"]
    (component,) = describe(entry).components
    assert {option.name: option.help for option in component.options} == {
        "period": "Every how many bars.",
        "share": "Said by the last.",
        "first": "",
    }


def test_describing_reports_what_fails(load: Callable[..., Registry], tmp_path: Path) -> None:
    load(described=MASK.format(module="described").replace(':build")', ':build", options="described:Missing")'))
    (entry,) = [entry for entry in discover(Selection(plugin_dirs=(str(tmp_path),))) if entry.status == "local"]
    report = describe(entry)
    assert report.error == ""
    assert "AttributeError" in report.components[0].error


def test_a_preset_is_not_an_encoder() -> None:
    with pytest.raises(PluginError, match=r"'yellow' is a preset, .+ Set encoder_config_path to 'yellow'"):
        load_registry(Selection()).resolve("encoder", "yellow")


@pytest.mark.parametrize(
    "options",
    ["class Options: pass", "class Odd: pass\n@attrs.frozen\nclass Options:\n    it: Odd = Odd()"],
    ids=["no attrs class", "a type that no configuration has"],
)
def test_a_class_that_cannot_be_one_of_options_is_named(load: Callable[..., Registry], options: str) -> None:
    text = MASK.format(module="odd").replace('target="odd:build"', 'target="odd:build", options="odd:Options"')
    ref = load(odd=f"import attrs\n{text}\n{options}\n").resolve("mask", {"name": "local", "it": 1})
    with pytest.raises(ComponentError, match=r"mask 'local' of .*odd.py failed \(its options class odd:Options\)"):
        build(ref, MaskContext())
