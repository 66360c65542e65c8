"""``midigpt plugins new``."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import click

from midigpt_core.cli.echo import remark_line
from midigpt_core.cli.options import PATH, common_options
from midigpt_core.components import RECORDS
from midigpt_core.errors import PluginError
from midigpt_core.files import explained, write_text
from midigpt_core.kinds import Kind
from midigpt_core.plugins.discovery import discover
from midigpt_core.plugins.selection import Selection, normalise

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEMPLATES = Path(__file__).with_name("templates")
_PREFIX = "midigpt-plugin-"
#: Fields of a kind's record other than name, summary, target and options.
_MORE_FIELDS: Mapping[Kind, str] = {
    Kind.MASK: '\n            requires={"mask_bar"},',
    Kind.CHECKPOINT_FORMAT: '\n            suffixes=(".$name",),',
}


class KindName(click.Choice[str]):
    """A kind of component, by its current or a former name."""

    def __init__(self) -> None:
        super().__init__(sorted(kind.value for kind in Kind))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Kind:
        try:
            return Kind(value)
        except PluginError:
            # Raises click's usual error for a wrong choice.
            return Kind(super().convert(value, param, ctx))


@common_options
@click.command("new")
@click.argument("name")
@click.option("--kind", type=KindName(), required=True, help="What the plugin provides.")
@click.option(
    "--folder",
    type=PATH,
    default=".",
    show_default=True,
    metavar="DIR",
    help="Folder in which to create the distribution.",
)
def new_plugin(name: str, kind: Kind, folder: str) -> None:
    """Write the distribution midigpt-plugin-NAME as a starting point. It installs, trains and passes the test kit."""
    name = normalise(name).removeprefix(_PREFIX)
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise PluginError(f"{name!r}: a plugin's name is a letter, then letters, digits and '-'. Choose another name.")
    if any(entry.is_bundled and entry.name == name for entry in discover(Selection())):
        raise PluginError(f"{name!r} is the name of a bundled plugin. Choose another.")
    target = Path(folder) / f"{_PREFIX}{name}"
    with explained(target):
        is_there = target.exists()
    if is_there:
        raise PluginError(f"{target}: exists already. Choose another name or folder, or remove it.")
    for path, text in distribution(name, kind).items():
        write_text(target / path, text)
    remark_line(f"Wrote {target}. Next: cd {target} && pip install -e '.[test]' && pytest")


def distribution(name: str, kind: Kind) -> dict[str, str]:
    """The files of a new distribution by their paths in it."""
    package = f"{_PREFIX}{name}".replace("-", "_")
    component = _template(f"kinds/{kind.setting}.py")
    words = {
        "name": name,
        "identifier": name.replace("-", "_"),
        "package": package,
        "module": kind.setting,
        "a_kind": f"{'An' if kind[0] in 'aeiou' else 'A'} {kind.words}",
        "spec": RECORDS[kind].__name__,
        "hook": kind.hook,
        "summary": _summary(component.template),
        "use": "evaluate --music" if kind is Kind.METRIC else "train",
        "option": kind.option,
        "extra": Template(_MORE_FIELDS.get(kind, "")).substitute(name=name),
    }
    templates = {
        "pyproject.toml": _template("pyproject.toml"),
        "README.md": _template("README.md"),
        f"{package}/__init__.py": Template('"""The plugin $name of midigpt-core."""\n'),
        f"{package}/plugin.py": _template("plugin.py"),
        f"{package}/{kind.setting}.py": component,
        f"tests/test_{words['identifier']}.py": _template("test_plugin.py"),
    }
    return {path: template.substitute(words) for path, template in templates.items()}


def _template(name: str) -> Template:
    return Template((_TEMPLATES / f"{name}.txt").read_text(encoding="utf-8"))


def _summary(component: str) -> str:
    """The first docstring line of a component's module, as the summary of a record."""
    said = component.splitlines()[0].strip('"').removesuffix(".").replace("`", "")
    return said[0].lower() + said[1:]
