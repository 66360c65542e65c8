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
from midigpt_core.plugins.names import normalise
from midigpt_core.plugins.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEMPLATES = Path(__file__).with_name("templates")
_PREFIX = "midigpt-plugin-"
#: Fields of a kind's record other than name, summary, target and options.
_MORE_FIELDS: Mapping[Kind, str] = {
    Kind.MASK: '\n            requires={"mask_bar"},',
    Kind.CHECKPOINT_FORMAT: '\n            suffixes=(".$name",),',
    Kind.ADAPTER: '\n            merge="$package.$module:merge",',
    Kind.ATTRIBUTE: '\n            level="track",\n            levels=6,\n            track_type="melodic",',
}
#: The commands that use components, where it is not ``train`` alone.
_USES: Mapping[Kind, str] = {Kind.METRIC: "evaluate --music", Kind.ADAPTER: "train --init-from BUNDLE"}
_OPTIONS = '\n            options="$package.$module:Options",'


#: What a distribution can provide besides components.
COMMAND, CALLBACK = "command", "callback"

_PLUGIN = {
    "group": "plugins",
    "point": "plugin",
    "points": "The plugin's name, and the light module that says what it provides.",
    "tests": "the checks that every plugin passes",
    "show": "midigpt plugins show $name",
}
_COMPONENT = _PLUGIN | {
    "parts": "`$package/plugin.py` says what the plugin provides and imports nothing heavy. `$package/$module.py` is\n"
    "the component: its options, and `build`, which is called with them.",
}
_OF_ATTRIBUTE = {
    "parts": "`$package/plugin.py` says what the plugin provides and imports nothing heavy. `$package/$module.py` has\n"
    "the function that computes the levels of a batch of windows.",
    "function": "compute",
    "extra": _MORE_FIELDS[Kind.ATTRIBUTE],
}

#: The words of the templates of what is no component.
_OTHERS = {
    CALLBACK: _PLUGIN
    | {
        "a_kind": "A callback",
        "use": "midigpt train …                # with the callback, as long as the plugin is installed",
        "parts": "`$package/plugin.py` returns the callbacks of a run and imports nothing heavy.\n"
        "`$package/callback.py` is a callback of Lightning.",
    },
    COMMAND: {
        "group": "commands",
        "point": "command:command",
        "points": "The command's name in midigpt, and where it is.",
        "tests": "the command on a song",
        "show": "midigpt $name --help",
        "a_kind": "A command",
        "use": "midigpt $name song.mid",
        "parts": "`$package/command.py` is a command of click.",
    },
}


class KindName(click.Choice[str]):
    """A kind of component, by its current or a former name, or one of ``more``."""

    def __init__(self, *more: str) -> None:
        super().__init__(sorted([*(kind.value for kind in Kind), *more]))
        self._more = more

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in self._more:
            return str(value)
        try:
            return Kind(value)
        except PluginError:
            # Raises click's usual error for a wrong choice.
            return Kind(super().convert(value, param, ctx))


@common_options
@click.command("new")
@click.argument("name")
@click.option("--kind", type=KindName(COMMAND, CALLBACK), required=True, help="What the plugin provides.")
@click.option(
    "--folder",
    type=PATH,
    default=".",
    show_default=True,
    metavar="DIR",
    help="Folder in which to create the distribution.",
)
@click.pass_context
def new_plugin(ctx: click.Context, name: str, kind: str, folder: str) -> None:
    """Write the distribution midigpt-plugin-NAME as a starting point. It installs, trains and passes the test kit."""
    name = normalise(name).removeprefix(_PREFIX)
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise PluginError(f"{name!r}: a plugin's name is a letter, then letters, digits and '-'. Choose another name.")
    if any(entry.is_bundled and entry.name == name for entry in discover(Selection())):
        raise PluginError(f"{name!r} is the name of a bundled plugin. Choose another.")
    commands = ctx.find_root().command
    if kind == COMMAND and isinstance(commands, click.Group) and name in commands.list_commands(ctx):
        raise PluginError(f"{name!r} is the name of a command of midigpt. Choose another.")
    target = Path(folder) / f"{_PREFIX}{name}"
    with explained(target):
        is_there = target.exists()
    if is_there:
        raise PluginError(f"{target}: exists already. Choose another name or folder, or remove it.")
    for path, text in distribution(name, kind).items():
        write_text(target / path, text)
    remark_line(f"Wrote {target}. Next: cd {target} && pip install -e '.[test]' && pytest")


def distribution(name: str, kind: str) -> dict[str, str]:
    """The files of a new distribution by their paths in it.

    ``kind`` is a :class:`Kind`, :data:`COMMAND` or :data:`CALLBACK`.
    """
    package = f"{_PREFIX}{name}".replace("-", "_")
    module = kind.replace("-", "_")
    component = _template(f"kinds/{module}.py")
    words = {
        "name": name,
        "identifier": name.replace("-", "_"),
        "package": package,
        "module": module,
        "summary": _summary(component.template),
        **(_of_component(name, kind) if isinstance(kind, Kind) else _OTHERS[kind]),
    }
    words |= {field: Template(text).substitute(words) for field, text in words.items() if "$" in text}
    special = {
        COMMAND: {f"tests/test_{words['identifier']}.py": _template("test_command.py")},
        CALLBACK: {f"{package}/plugin.py": _template("plugin_callback.py")},
    }
    templates = {
        "pyproject.toml": _template("pyproject.toml"),
        "README.md": _template("README.md"),
        f"{package}/__init__.py": Template('"""The plugin $name of midigpt-core."""\n'),
        f"{package}/plugin.py": _template("plugin.py"),
        f"{package}/{module}.py": component,
        f"tests/test_{words['identifier']}.py": _template("test_plugin.py"),
        **special.get(kind, {}),
    }
    if kind == COMMAND:
        del templates[f"{package}/plugin.py"]
    return {path: template.substitute(words) for path, template in templates.items()}


def _of_component(name: str, kind: Kind) -> dict[str, str]:
    """The words of a component's templates."""
    return _COMPONENT | {
        "a_kind": kind.with_article.capitalize(),
        "spec": RECORDS[kind].__name__,
        "hook": kind.hook,
        "use": _use(name, kind),
        "function": "build",
        "extra": _OPTIONS + _MORE_FIELDS.get(kind, ""),
        **(_OF_ATTRIBUTE if kind is Kind.ATTRIBUTE else {}),
    }


def _use(name: str, kind: Kind) -> str:
    """A command that uses the component."""
    if kind is Kind.ATTRIBUTE:
        return f"midigpt train --set 'encoder.attributes=[\"{name}\"]' …"
    return f"midigpt {_USES.get(kind, 'train')} {kind.option} {name} …"


def _template(name: str) -> Template:
    return Template((_TEMPLATES / f"{name}.txt").read_text(encoding="utf-8"))


def _summary(component: str) -> str:
    """The first docstring line of a component's module, as the summary of a record."""
    said = component.splitlines()[0].strip('"').removesuffix(".").replace("`", "")
    return said[0].lower() + said[1:]
