"""The kinds of component: listed once, with names that need no quotes."""

from __future__ import annotations

import importlib
import json
import pickle
import re
from typing import TYPE_CHECKING

import attrs
import pytest

from midigpt_core import hookspecs
from midigpt_core.checkpoint.provenance import provenance
from midigpt_core.cli import main
from midigpt_core.cli.evaluate import evaluate
from midigpt_core.cli.generate import generate
from midigpt_core.cli.new_plugin import distribution
from midigpt_core.cli.train import train
from midigpt_core.components import RECORDS, ComponentRef
from midigpt_core.config import TrainConfig
from midigpt_core.errors import PluginError
from midigpt_core.kinds import RUN_KINDS, Kind
from midigpt_core.plugins import current_registry

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_has_all_that_its_name_says(kind: Kind) -> None:
    assert re.fullmatch("[a-z]+(-[a-z]+)*", kind)
    assert RECORDS[kind].kind is kind
    assert RECORDS[kind].__name__ in getattr(hookspecs, kind.hook).__annotations__["return"]
    assert (kind.setting in attrs.fields_dict(TrainConfig)) == (kind in RUN_KINDS)
    # An encoder's options name attribute controls, and `generate` asks for their levels.
    command = {Kind.METRIC: evaluate, Kind.ATTRIBUTE: generate}.get(kind, train)
    assert kind.option in [name for parameter in command.params for name in parameter.opts]
    assert importlib.import_module(f"midigpt_core.testing.{kind.setting}s")
    assert f"midigpt_plugin_x/{kind.setting}.py" in distribution("x", kind)
    assert current_registry().specs(kind)


def test_every_hook_that_returns_records_is_of_a_kind() -> None:
    assert {name for name in vars(hookspecs) if name.startswith("midigpt_")} == {
        *(kind.hook for kind in Kind),
        "midigpt_callbacks",
    }


@pytest.mark.parametrize("old", ["checkpoint format", "checkpoint_format", "format"])
def test_an_old_name_is_understood(old: str, tmp_path: Path) -> None:
    assert Kind(old) is Kind.CHECKPOINT_FORMAT
    assert current_registry().find(old, "pt").spec.kind is Kind.CHECKPOINT_FORMAT
    assert main(["plugins", "new", "old", "--kind", old, "--folder", str(tmp_path)]) == 0
    assert (tmp_path / "midigpt-plugin-old" / "midigpt_plugin_old" / "checkpoint_format.py").is_file()


def test_a_kind_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PluginError, match=r"no kind of component named 'masks'\. Did you mean 'mask'"):
        current_registry().find("masks", "random")
    assert main(["plugins", "new", "x", "--kind", "masks", "--folder", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert all(f"'{kind}'" in said for kind in Kind), said


def test_kinds_are_printed_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "list", "--components", "--json"]) == 0
    listed = [component["kind"] for plugin in json.loads(capsys.readouterr().out) for component in plugin["components"]]
    assert set(listed) == {kind.value for kind in Kind}


def test_messages_have_the_words_and_files_the_name() -> None:
    ref = ComponentRef(kind=Kind.CHECKPOINT_FORMAT, name="npz", target="a:b")
    assert str(ref) == "checkpoint format 'npz'"
    assert pickle.loads(pickle.dumps(ref)) == ref
    # Bundle formats store plain values, and a member of an enumeration is none.
    assert [(type(kind), kind) for kind in provenance([ref])["components"]] == [(str, "checkpoint-format")]
    with pytest.raises(PluginError, match=r"no checkpoint format named 'pth'\. Did you mean 'pt'"):
        current_registry().find(Kind.CHECKPOINT_FORMAT, "pth")
