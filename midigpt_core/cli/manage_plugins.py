"""``midigpt plugins install``, ``upgrade`` and ``uninstall``, by the installer of this environment."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import click
from attrs import frozen

from midigpt_core.cli.echo import echo_line, echo_lines, remark_line
from midigpt_core.cli.groups import THIRD_PARTY_COMMANDS
from midigpt_core.cli.options import NAME, common_options
from midigpt_core.cli.tables import table
from midigpt_core.errors import PluginError, unknown_name
from midigpt_core.plugins.discovery import discover
from midigpt_core.plugins.names import CORE_DISTRIBUTION, normalise
from midigpt_core.plugins.selection import Selection
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

_PREFIX = "midigpt-plugin-"
#: A name, with or without a version: neither a path nor an address.
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[^\]]*\])?([<>=!~].*)?")
#: What uv says it would do: `` + name==version``.
_UV_LINE = re.compile(r"^ \+ ([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
_YES = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


@frozen
class Change:
    """A distribution that an installation adds or replaces."""

    name: str
    version: str

    @property
    def present(self) -> str:
        """The version that is installed, else empty."""
        try:
            return importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            return ""


@common_options
@click.command("install")
@click.argument("names", nargs=-1, required=True, type=NAME, metavar="NAME...")
@_YES
def install_plugins(names: tuple[str, ...], yes: bool) -> None:
    """Install plugins into this environment. NAME is that of a plugin (acme for the distribution
    midigpt-plugin-acme), or a folder (./acme), a wheel, or an address, as pip takes them."""
    _install([requirement(name) for name in names], [], yes=yes)


@common_options
@click.command("upgrade")
@click.argument("names", nargs=-1, type=NAME, metavar="[NAME]...")
@_YES
def upgrade_plugins(names: tuple[str, ...], yes: bool) -> None:
    """Upgrade plugins to their newest versions; without NAME, all that do not belong to midigpt-core."""
    found = [_third_party(name) for name in names] if names else _third_parties()
    if not found:
        raise PluginError("no plugin is installed besides those of midigpt-core. pip upgrades midigpt-core itself.")
    _install(sorted(set(found)), ["--upgrade"], yes=yes)


@common_options
@click.command("uninstall")
@click.argument("names", nargs=-1, required=True, type=NAME, metavar="NAME...")
@_YES
def uninstall_plugins(names: tuple[str, ...], yes: bool) -> None:
    """Remove plugins from this environment; what they depend on stays."""
    distributions = sorted({_third_party(name) for name in names})
    rows = [(name, importlib.metadata.version(name), "-") for name in distributions]
    echo_lines(table(("distribution", "installed", "then"), rows))
    _confirm("Remove these?", yes=yes)
    installer = _installer()
    _run([*installer, "uninstall", *(["-y"] if _is_pip(installer) else []), *distributions])
    remark_line(f"Removed {', '.join(distributions)}.")


def requirement(name: str) -> str:
    """What the installer is given for NAME: a plain name gets the prefix of plugins."""
    # As pip compares names: midigpt_plugin_acme is midigpt-plugin-acme.
    if not _is_plain(name) or normalise(name).startswith(_PREFIX):
        return name
    return f"{_PREFIX}{name}"


def _is_plain(name: str) -> bool:
    return _REQUIREMENT.fullmatch(name) is not None and not name.endswith((".whl", ".gz", ".zip"))


def _install(requirements: Sequence[str], options: Sequence[str], *, yes: bool) -> None:
    installer = _installer()
    changes = _plan(installer, [*options, *requirements])
    if not changes:
        remark_line("Nothing to do: these versions are installed.")
        return
    rows = [(change.name, change.present or "-", change.version) for change in changes]
    echo_lines(table(("distribution", "installed", "then"), rows))
    if replaced := [change.name for change in changes if normalise(change.name) == CORE_DISTRIBUTION]:
        echo_line(f"{replaced[0]} itself is replaced, too.", err=True)
    _confirm("Install these?", yes=yes)
    _run([*installer, "install", *options, *requirements])
    _report(changes)


def _report(changes: Sequence[Change]) -> None:
    """What the new distributions provide, as a new process finds it."""
    listing = subprocess.run(
        [sys.executable, "-m", "midigpt", "plugins", "list", "--json"], capture_output=True, text=True, check=False
    )
    if listing.returncode:
        lines = listing.stderr.splitlines() or ["no reason given"]
        raise PluginError(f"they are installed, but 'midigpt plugins list' fails now: {lines[-1]}")
    names = {normalise(change.name) for change in changes}
    lines = [
        f"plugin {each['name']} {each['version']} is {each['status']}{': ' if each['reason'] else ''}{each['reason']}"
        for each in json.loads(listing.stdout)
        if normalise(each["distribution"]) in names
    ]
    # What was just installed is not in what was read before.
    importlib.invalidate_caches()
    lines += [f"command midigpt {name}" for name, owner in _commands() if normalise(owner) in names]
    for line in lines:
        remark_line(line)
    if not lines:
        remark_line(f"Installed {', '.join(change.name for change in changes)}, which provides nothing for midigpt.")


def _commands() -> list[tuple[str, str]]:
    """The commands of other distributions than midigpt-core, each with its distribution."""
    points = importlib.metadata.entry_points(group=THIRD_PARTY_COMMANDS)
    owned = [(point.name, point.dist.name) for point in points if point.dist is not None]
    return sorted(each for each in owned if normalise(each[1]) != CORE_DISTRIBUTION)


def _plan(installer: Sequence[str], arguments: Sequence[str]) -> list[Change]:
    """What an installation would add or replace."""
    if _is_pip(installer):
        report = _output([*installer, "install", "--dry-run", "--quiet", "--report", "-", *arguments])
        found = [each["metadata"] for each in json.loads(report)["install"]]
        return [Change(each["name"], each["version"]) for each in found]
    return [Change(*match) for match in _UV_LINE.findall(_output([*installer, "install", "--dry-run", *arguments]))]


def _installer() -> list[str]:
    """The command line of this environment's installer, up to its own commands."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    uv = shutil.which("uv")
    if uv is None:
        raise PluginError(
            f"the environment of {sys.executable} has neither pip nor uv. Install one, or use the tool that made it."
        )
    return [uv, "pip", "--python", sys.executable]


def _is_pip(installer: Sequence[str]) -> bool:
    return "-m" in installer


def _output(command: Sequence[str]) -> str:
    """Standard output, and that of errors for uv, which reports there. Raises :class:`PluginError`."""
    done = subprocess.run(_ordered(command), capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.lstrip().lower().startswith("error")]
        raise PluginError(f"the installer refuses: {(errors or lines or ['no reason given'])[-1].strip()}")
    return done.stdout if _is_pip(command) else done.stderr


def _run(command: Sequence[str]) -> None:
    if subprocess.run(_ordered(command), check=False).returncode:
        raise PluginError("the installer failed; its messages are above.")


def _ordered(command: Sequence[str]) -> list[str]:
    """uv takes --python after its command."""
    if _is_pip(command):
        return list(command)
    uv, pip, python, interpreter, action, *rest = command
    return [uv, pip, action, python, interpreter, *rest]


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here. Add --yes to do it.")
    if not click.confirm(question):
        raise PluginError("nothing was changed.")


def _third_parties() -> list[str]:
    """The distributions of plugins and commands that do not belong to midigpt-core."""
    plugins = [entry.distribution for entry in discover(Selection()) if not entry.is_bundled]
    return [*plugins, *(owner for _, owner in _commands())]


def _third_party(name: str) -> str:
    """The distribution of a plugin or command. Raises :class:`PluginError` if there is none or it is bundled."""
    if not _is_plain(name):
        raise PluginError(
            f"{printable(name)} is not the name of an installed plugin. 'midigpt plugins install' takes files and "
            "addresses, and replaces what is installed."
        )
    entries = discover(Selection())
    found = [entry for entry in entries if entry.answers_to(name) or entry.answers_to(f"{_PREFIX}{name}")]
    if found and found[0].is_bundled:
        raise PluginError(
            f"{found[0].name!r} is part of midigpt-core. --no-plugin {found[0].name} leaves it out of a run."
        )
    commands = _commands()
    asked = (normalise(name), normalise(f"{_PREFIX}{name}"))
    owners = [owner for command, owner in commands if normalise(command) in asked or normalise(owner) in asked]
    if not found and not owners:
        names = {entry.name for entry in entries} | {command for command, _ in commands}
        raise PluginError(unknown_name("plugin", normalise(name), names))
    return found[0].distribution if found else owners[0]
