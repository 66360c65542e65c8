"""``midigpt plugins new``."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import click
from attrs import frozen

from midigpt_core.cli.echo import remark_line
from midigpt_core.cli.options import PATH, common_options
from midigpt_core.errors import PluginError
from midigpt_core.files import explained, write_text
from midigpt_core.plugins.discovery import discover
from midigpt_core.plugins.selection import Selection, normalise

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEMPLATES = Path(__file__).with_name("templates")
_PREFIX = "midigpt-plugin-"


@frozen
class _Kind:
    spec: str
    hook: str
    usage: str
    extra: str = ""


_KINDS: Mapping[str, _Kind] = {
    "source": _Kind("SourceSpec", "midigpt_sources", "midigpt train --plugin $name --train-data PATH …"),
    "encoder": _Kind("EncoderSpec", "midigpt_encoders", "midigpt train --encoder $name …"),
    "mask": _Kind("MaskSpec", "midigpt_masks", "midigpt train --mask $name …"),
    "architecture": _Kind("ArchitectureSpec", "midigpt_architectures", "midigpt train --architecture $name …"),
    "logger": _Kind("LoggerSpec", "midigpt_loggers", "midigpt train --logger $name …"),
    "format": _Kind(
        "CheckpointFormatSpec",
        "midigpt_checkpoint_formats",
        "midigpt train --checkpoint-format $name …",
        '\n            suffixes=(".$name",),',
    ),
}


@common_options
@click.command("new")
@click.argument("name")
@click.option("--kind", type=click.Choice(sorted(_KINDS)), required=True, help="What the plugin provides.")
@click.option(
    "--folder", type=PATH, default=".", show_default=True, metavar="DIR", help="Where the distribution's folder goes."
)
def new_plugin(name: str, kind: str, folder: str) -> None:
    """Write the distribution midigpt-plugin-NAME to start from: it installs, trains and passes the kit as it stands."""
    name = normalise(name).removeprefix(_PREFIX)
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise PluginError(f"{name!r}: a plugin's name is a letter, then letters, digits and '-'. Choose one.")
    if any(entry.is_bundled and entry.name == name for entry in discover(Selection())):
        raise PluginError(f"{name!r} is the name of a bundled plugin. Choose another.")
    target = Path(folder) / f"{_PREFIX}{name}"
    with explained(target):
        is_there = target.exists()
    if is_there:
        raise PluginError(f"{target}: exists already. Choose another name or folder, or remove it.")
    for path, text in _files(name, kind).items():
        write_text(target / path, text)
    remark_line(f"Wrote {target}. Next: cd {target} && pip install -e '.[test]' && pytest")


def _files(name: str, kind: str) -> dict[str, str]:
    """The distribution's files by path."""
    package = f"{_PREFIX}{name}".replace("-", "_")
    chosen = _KINDS[kind]
    words = {
        "name": name,
        "identifier": name.replace("-", "_"),
        "package": package,
        "module": kind,
        "kind": "checkpoint format" if kind == "format" else kind,
        "spec": chosen.spec,
        "hook": chosen.hook,
        "usage": Template(chosen.usage).substitute(name=name),
        "extra": Template(chosen.extra).substitute(name=name),
    }
    templates = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{package}/plugin.py": "plugin.py",
        f"{package}/{kind}.py": f"kinds/{kind}.py",
        f"tests/test_{words['identifier']}.py": "test_plugin.py",
    }
    files = {
        path: Template((_TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")).substitute(words)
        for path, template in templates.items()
    }
    return files | {f"{package}/__init__.py": f'"""The plugin {name} of midigpt-core."""\n'}
