"""The kit finds what it is there to find: each broken promise fails its own check and no other."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from midigpt_core.errors import PluginError
from midigpt_core.testing import checks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PLUGIN = """
from midigpt_core import hookimpl
from midigpt_core.components import {spec}

MIDIGPT_API = 1

@hookimpl
def {hook}():
    return [{spec}(name="local", summary="x", target="kitpart:build", options="kitpart:Options")]
"""

MASK = """
import attrs
import numpy as np

@attrs.frozen
class Options:
    depth: int = 1

class Mask:
    calls = 0

    def hide(self, valid, infill, keys):
        Mask.calls += 1
        return {hidden}

def build(options, context):
    return Mask()
"""

SOURCE = """
import attrs
import numpy as np
import pyarrow as pa
from midigpt_core.contracts import RowBatch

@attrs.frozen
class Options:
    pass

class Shard:
    name = "s"
    def fingerprint(self): return {fingerprint}
    def num_rows(self): return {rows}
    def batches(self):
        yield RowBatch(row=np.array([0, 2]), ids=pa.array(["a", "b"]), midi=pa.array([b"x", b"y"], {midi}),
                       dropped={{"no_notes": 1}})

class Source:
    def shards(self): return [Shard()]

def build(options, context):
    return Source()
"""


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., set[str]]]:
    """The ids of the checks, all or ``only`` those that begin so, that a plugin of two files fails."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(plugin: str, component: str, only: str = "") -> set[str]:
        (tmp_path / "kitlocal.py").write_text(plugin)
        (tmp_path / "kitpart.py").write_text(component)
        failed = set()
        checks = checks_of("kitlocal", plugin_dirs=[str(tmp_path)])
        for check in [check for check in checks if check.id.startswith(only)]:
            try:
                check()
            except Exception:  # noqa: BLE001 (whatever the broken component raises is the finding)
                failed.add(check.id)
        return failed

    yield run
    sys.modules.pop("kitlocal", None)
    sys.modules.pop("kitpart", None)


MASK_PLUGIN = PLUGIN.format(spec="MaskSpec", hook="midigpt_masks")
SOURCE_PLUGIN = PLUGIN.format(spec="SourceSpec", hook="midigpt_sources")


@pytest.mark.parametrize(
    ("hidden", "broken"),
    [
        ("valid & False", set()),
        ("~infill", {"hides-only-valid-bars-outside-the-infill"}),
        ("valid.copy()", {"hides-only-valid-bars-outside-the-infill"}),
        ("(valid & ~infill).astype(np.uint8)", {"hides-only-valid-bars-outside-the-infill"}),
        ("valid & ~infill & (Mask.calls % 2 == 0)", {"equal-keys-hide-equal-bars"}),
        ("valid & ~infill & (np.arange(len(keys)) == 0)[:, None, None]", {"equal-keys-hide-equal-bars"}),
        ("np.logical_and(valid, ~infill, out=valid)", {"leaves-its-arguments-alone"}),
        ("valid & (keys[0] < 0)", {"takes-an-empty-batch"}),
    ],
)
def test_masks(failing: Callable[..., set[str]], hidden: str, broken: set[str]) -> None:
    assert failing(MASK_PLUGIN, MASK.format(hidden=hidden), "mask-") == {f"mask-local-{check}" for check in broken}


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({}, {"a-path-that-leads-nowhere-is-refused"}),
        ({"rows": "2"}, {"every-row-is-accounted-for"}),
        ({"fingerprint": "str(id(self))"}, {"shards-are-stable"}),
        ({"midi": "pa.string()"}, {"batches-have-the-right-columns"}),
    ],
)
def test_sources(failing: Callable[..., set[str]], change: dict[str, str], broken: set[str]) -> None:
    parts = {"rows": "3", "fingerprint": "'f'", "midi": "pa.large_binary()"} | change
    expected = broken | {"a-path-that-leads-nowhere-is-refused"}
    assert failing(SOURCE_PLUGIN, SOURCE.format(**parts), "source-") == {f"source-local-{check}" for check in expected}


def test_a_plugin_module_that_imports_numpy(failing: Callable[..., set[str]]) -> None:
    failed = failing("import numpy\n" + MASK_PLUGIN, MASK.format(hidden="valid & False"))
    assert failed == {"kitlocal-imports-nothing-heavy"}


def test_options_that_need_values(failing: Callable[..., set[str]]) -> None:
    failed = failing(MASK_PLUGIN, MASK.format(hidden="valid & False").replace("depth: int = 1", "depth: int"))
    assert "mask-local-options-need-no-values" in failed
    assert "kitlocal-references-survive-spawn" in failed


def test_a_target_that_is_not_there(failing: Callable[..., set[str]]) -> None:
    failed = failing(MASK_PLUGIN.replace("kitpart:build", "kitpart:bild"), MASK.format(hidden="valid & False"))
    assert "mask-local-target-resolves" in failed


def test_an_unknown_plugin() -> None:
    with pytest.raises(PluginError, match="--plugin nobody: no such plugin"):
        checks_of("nobody")
