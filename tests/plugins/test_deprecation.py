"""A deprecated hook, argument or field works, and warns with the plugin's name; what is overdue is found."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import midigpt_core
from midigpt_core import components, hookspecs
from midigpt_core.components import RECORDS, MaskSpec
from midigpt_core.deprecation import PluginDeprecationWarning, deprecated, deprecated_field, field_warnings
from midigpt_core.kinds import Kind
from midigpt_core.plugins import Selection, load_registry, loader, registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD_HOOK = "the hook midigpt_old is deprecated since midigpt-core 0.2 and will be removed in 0.3. Use midigpt_masks."
OLD_ARGUMENT = "the argument 'facts' is deprecated since midigpt-core 0.2 and will be removed in 0.3. Use 'run'."
OLD_FIELD = "the field 'weight' is deprecated since midigpt-core 1.9 and will be removed in 1.10. Leave it."

PLUGIN = """
from midigpt_core import hookimpl
from midigpt_core.components import MaskSpec

MIDIGPT_API = 1

{code}
"""
MASKS = """
@hookimpl
def midigpt_masks():
    return [MaskSpec(name=name, summary="x", target="mine:build"{more}) for name in ("one", "two")]
"""


@attrs.frozen(kw_only=True)
class NewMaskSpec(MaskSpec):
    weight: float = attrs.field(
        default=1.0, metadata=deprecated_field("the field 'weight'", since="1.9", use="Leave it.")
    )
    names: frozenset[str] = attrs.field(
        factory=frozenset, metadata=deprecated_field("the field 'names'", since="1.9", use="Leave it.")
    )


@pytest.fixture
def warnings_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """Loads a plugin with this code under an interface with deprecated parts: what is logged, and the registry."""

    @hookspecs.hookspec(warn_on_impl=deprecated("the hook midigpt_old", since="0.2", use="Use midigpt_masks."))
    def midigpt_old() -> None:
        """Deprecated."""

    @hookspecs.hookspec(warn_on_impl_args={"facts": deprecated("the argument 'facts'", since="0.2", use="Use 'run'.")})
    def midigpt_callbacks(run: object, facts: object) -> None:
        """With a deprecated argument."""

    monkeypatch.setattr(hookspecs, "midigpt_old", midigpt_old, raising=False)
    monkeypatch.setattr(hookspecs, "midigpt_callbacks", midigpt_callbacks)
    monkeypatch.setattr(loader, "HOOKS", loader.HOOKS | {"midigpt_old"})
    monkeypatch.setattr(components, "MaskSpec", NewMaskSpec)
    monkeypatch.setattr(registry, "RECORDS", {**RECORDS, Kind.MASK: MaskSpec})
    monkeypatch.setattr(sys, "path", list(sys.path))

    def load(code: str) -> tuple[list[str], registry.Registry]:
        (tmp_path / "mine.py").write_text(PLUGIN.format(code=code))
        with caplog.at_level(logging.WARNING, "midigpt_core.plugins"):
            loaded = load_registry(Selection(plugin_dirs=(str(tmp_path),)))
            loaded.specs("mask")
        return [record.getMessage() for record in caplog.records], loaded

    yield load
    sys.modules.pop("mine", None)


@pytest.mark.parametrize(
    ("code", "warning"),
    [
        ("@hookimpl\ndef midigpt_old():\n    return []\n", OLD_HOOK),
        ("@hookimpl\ndef midigpt_callbacks(run, facts):\n    return []\n", OLD_ARGUMENT),
        (MASKS.format(more=", weight=2.0"), OLD_FIELD),
    ],
)
def test_what_is_deprecated_works_and_warns_once_with_the_plugins_name(
    warnings_of: Any, tmp_path: Path, code: str, warning: str
) -> None:
    lines, loaded = warnings_of(code)
    assert lines == [f"plugin 'mine' ({tmp_path}/mine.py): {warning}"]
    assert loaded.set_aside == {}
    assert ("one" in [spec.name for spec in loaded.specs("mask")]) == (code == MASKS.format(more=", weight=2.0"))


@pytest.mark.parametrize(
    "code",
    [
        "@hookimpl\ndef midigpt_callbacks(run):\n    return []\n",
        MASKS.format(more=""),
        MASKS.format(more=", weight=1.0, names=frozenset()"),
    ],
)
def test_what_is_not_used_does_not_warn(warnings_of: Any, code: str) -> None:
    assert warnings_of(code)[0] == []


def test_a_part_is_removed_one_minor_release_later() -> None:
    warning = deprecated("the hook midigpt_old", since="0.9", use="Use another.")
    assert str(warning).endswith("is deprecated since midigpt-core 0.9 and will be removed in 0.10. Use another.")
    assert not any(map(warning.is_overdue, ("0.9.0", "0.9.7")))
    assert all(map(warning.is_overdue, ("0.10.0", "1.0.0")))
    with pytest.raises(ValueError, match=r"'nine' is no version like"):
        deprecated("the hook midigpt_old", since="nine", use="Use another.")


def test_nothing_in_the_interface_is_overdue() -> None:
    marked: list[PluginDeprecationWarning] = []
    for name in loader.HOOKS:
        options = getattr(getattr(hookspecs, name), "midigpt_core_spec")  # noqa: B009
        marked += filter(None, [options["warn_on_impl"], *(options["warn_on_impl_args"] or {}).values()])
    for record in RECORDS.values():
        values = [value for field in attrs.fields(record) for value in field.metadata.values()]
        marked += [value for value in values if isinstance(value, PluginDeprecationWarning)]
    assert [str(warning) for warning in marked if warning.is_overdue(midigpt_core.__version__)] == []
    assert field_warnings(NewMaskSpec(name="x", summary="", target="a:b")) == []
