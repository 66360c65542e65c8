"""Third-party distributions: written here, packed into wheels, installed by pip into an environment of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import textwrap
import zipfile
from typing import TYPE_CHECKING

import pytest
from attrs import frozen

from midigpt_core.plugins import registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MASK_PLUGIN = """
    from midigpt_core import hookimpl
    from midigpt_core.components import MaskSpec

    MIDIGPT_API = 1

    @hookimpl
    def midigpt_masks():
        return [MaskSpec(name=name, summary="test", target="{package}.component:build",
                         options="{package}.component:Options") for name in {names}]
"""

SWING = """
    import attrs
    import numpy as np

    @attrs.frozen
    class Options:
        #: Every how many bars one is masked.
        period: int = attrs.field(default=2, validator=attrs.validators.ge(1))

    @attrs.frozen
    class Swing:
        period: int

        def mask(self, valid, infill, keys):
            bars = np.arange(valid.shape[2]) % self.period == 0
            return bars & valid & ~infill

    def build(options, context):
        return Swing(options.period)
"""

BOMB = """
    import attrs

    @attrs.frozen
    class Options:
        pass

    class Bomb:
        def mask(self, valid, infill, keys):
            raise RuntimeError("boom in hide")

    def build(options, context):
        return Bomb()
"""

FOLDER_PLUGIN = """
    from midigpt_core import hookimpl
    from midigpt_core.components import SourceSpec

    MIDIGPT_API = 1

    @hookimpl
    def midigpt_sources():
        return [SourceSpec(name="folder", summary="folders of .mid files", target="midigpt_plugin_folder.source:build")]
"""

FOLDER_SOURCE = """
    from pathlib import Path

    import attrs
    import numpy as np
    import pyarrow as pa

    from midigpt_core.contracts import RowBatch
    from midigpt_core.errors import DataError

    @attrs.frozen
    class FolderShard:
        folder: Path
        hash_file: object

        @property
        def name(self):
            return str(self.folder)

        def _files(self):
            return sorted(self.folder.glob("*.mid"))

        def num_rows(self):
            return len(self._files())

        def fingerprint(self):
            return "-".join(self.hash_file(path) for path in self._files())

        def batches(self):
            files = self._files()
            yield RowBatch(
                row=np.arange(len(files), dtype=np.int64),
                ids=pa.array([path.name for path in files]),
                midi=pa.array([path.read_bytes() for path in files], pa.large_binary()),
            )

    @attrs.frozen
    class Folders:
        context: object

        def shards(self):
            for path in self.context.paths:
                if not Path(path).is_dir():
                    raise DataError(f"{path}: is not a folder. Name a folder of .mid files.")
            return [FolderShard(Path(path), self.context.hash_file) for path in self.context.paths]

    def build(options, context):
        return Folders(context)
"""

COMMAND = """
    import click

    @click.command()
    @click.option("--name", default="world")
    def hello(name):
        "Say hello."
        click.echo(f"hello {name}")
"""


@frozen
class Project:
    """A distribution to write: its modules by path, and its entry points by group."""

    name: str
    version: str
    modules: Mapping[str, str]
    entry_points: Mapping[str, Mapping[str, str]]

    def write_wheel(self, folder: Path) -> Path:
        stem = f"{self.name.replace('-', '_')}-{self.version}"
        info = f"{stem}.dist-info"
        points = "".join(
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
            for group, points in self.entry_points.items()
        )
        files = {path: textwrap.dedent(text) for path, text in self.modules.items()} | {
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": points,
        }
        files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
        wheel = folder / f"{stem}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, text in files.items():
                archive.writestr(path, text)
        return wheel


def plugin(name: str, version: str, code: str, component: str = "", *, plugin_name: str | None = None) -> Project:
    """A distribution ``midigpt-plugin-NAME`` with one plugin, named like it unless told otherwise."""
    package = f"midigpt_plugin_{name.replace('-', '_')}"
    modules = {f"{package}/__init__.py": "", f"{package}/plugin.py": code}
    if component:
        modules[f"{package}/component.py"] = component
    points = {"midigpt_core.plugins": {plugin_name or name: f"{package}.plugin"}}
    return Project(f"midigpt-plugin-{name}", version, modules, points)


def mask_plugin(name: str, version: str, masks: list[str], component: str = SWING, **kwargs: str) -> Project:
    package = f"midigpt_plugin_{name.replace('-', '_')}"
    return plugin(name, version, MASK_PLUGIN.format(package=package, names=masks), component, **kwargs)


MISTYPED = """
    from midigpt_core import hookimpl
    MIDIGPT_API = 1

    @hookimpl
    def midigpt_maks():
        return []
"""

FAULTY = """
    from midigpt_core import hookimpl
    MIDIGPT_API = 1

    @hookimpl
    def midigpt_masks():
        raise ValueError("no licence key")
"""

PROJECTS = [
    mask_plugin("acme", "0.3", ["swing", "structured"]),
    mask_plugin("zed", "1.1", ["swing", "waltz"]),
    mask_plugin("bomb", "0.1", ["bomb"], BOMB),
    Project(
        "midigpt-plugin-folder",
        "0.1",
        {
            "midigpt_plugin_folder/__init__.py": "",
            "midigpt_plugin_folder/plugin.py": FOLDER_PLUGIN,
            "midigpt_plugin_folder/source.py": FOLDER_SOURCE,
        },
        {"midigpt_core.plugins": {"folder": "midigpt_plugin_folder.plugin"}},
    ),
    plugin("broken", "0.2", "import not_installed_anywhere\n"),
    plugin("quitter", "0.2", "import sys\nsys.exit('licence expired')\n"),
    plugin("typo", "0.4", MISTYPED),
    plugin("future", "7.0", "MIDIGPT_API = 2\nimport module_of_the_future\n"),
    plugin("faulty", "0.5", FAULTY),
    mask_plugin("twin-a", "1.0", ["left"], plugin_name="twin"),
    mask_plugin("twin-b", "2.0", ["right"], plugin_name="twin"),
    Project(
        "midigpt-hello",
        "0.1",
        {"midigpt_hello.py": COMMAND, "midigpt_hello_broken.py": "raise RuntimeError('not today')\n"},
        {
            "midigpt_core.commands": {
                "hello": "midigpt_hello:hello",
                "goodbye": "midigpt_hello_broken:goodbye",
                "greet": "midigpt_hello:hello",
            }
        },
    ),
    Project(
        "midigpt-greet",
        "3.0",
        {"midigpt_greet.py": COMMAND},
        {"midigpt_core.commands": {"greet": "midigpt_greet:hello", "train": "midigpt_greet:hello"}},
    ),
]
#: Packages that no command may import unless it was told to.
THIRD_PARTY_PACKAGES = sorted({path.split("/")[0].removesuffix(".py") for p in PROJECTS for path in p.modules})


@frozen
class Environment:
    """A virtual environment with all of PROJECTS, on top of the one that runs the tests."""

    python: Path
    site_packages: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        settings = {key: value for key, value in os.environ.items() if not key.startswith("MIDIGPT_")}
        return subprocess.run(
            [self.python, *arguments], capture_output=True, text=True, timeout=120, check=False, env=settings
        )

    def midigpt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("-c", "import sys; from midigpt_core.cli import main; sys.exit(main())", *arguments)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("third-parties")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    site = folder / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # `--system-site-packages` would reach the interpreter below, not the environment that runs the tests; addsitedir
    # also reads the .pth files there, so an editable installation counts.
    parent = sysconfig.get_paths()["purelib"]
    (site / "parent.pth").write_text(f"import site; site.addsitedir({parent!r})\n")
    wheels = [project.write_wheel(folder) for project in PROJECTS]
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--disable-pip-version-check", *wheels], check=True)
    return Environment(python, site)


@pytest.fixture
def third_parties(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The installed distributions, seen by this process as well; forgotten afterwards."""
    monkeypatch.syspath_prepend(environment.site_packages)
    for variable in ("MIDIGPT_PLUGINS", "MIDIGPT_PLUGINS_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(registry, "_current", [])
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in THIRD_PARTY_PACKAGES]:
        del sys.modules[name]
