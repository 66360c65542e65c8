"""Installs every distribution of ``examples/`` next to the core's wheel, checks each one, and trains two steps with it.

    python examples/check_all.py --python .venv-wheel/bin/python

The environment of ``--python`` has the core's wheel and its dependencies, and nothing of the clone. Each folder with a
``pyproject.toml`` becomes a wheel. All wheels go into the environment at once, with the packages that they need, as
``constraints.txt`` pins them. Then ``midigpt plugins list`` must name what they add. For each distribution ``midigpt
plugins check`` runs the kit, and a run of two steps uses each component. A data source reads what the folder has in
``tests/data``. Last, the tests run that are not the kit's. The exit code is 1 if something failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
SONGS = ROOT / "tests" / "data" / "midi"
#: Commands that run at a time.
WORKERS = 2
LIMIT_S = 300

#: A model and a run that take a second.
TINY = {
    "n-embd": 16, "n-layer": 1, "n-head": 1, "n-positions": 256, "max-seq-len": 256, "batch-size": 2, "max-steps": 2,
    "warmup-steps": 1, "log-steps": 1, "precision": "fp32", "num-workers": 0,
}  # fmt: skip
SIZES = ("n-embd", "n-layer", "n-head")
#: The value of a flag that stands for the bundle of a run made first.
BASE = "BASE"
#: The kinds whose components are chosen by name alone: ``--optimizer lion``.
PLAIN = ("source", "optimizer", "logger", "checkpoint-format")


class Failed(Exception):
    """A step failed; the message is its output."""


@dataclass(frozen=True)
class Example:
    """A distribution of ``examples/``."""

    folder: Path
    distribution: str
    plugins: tuple[str, ...]
    commands: tuple[str, ...]

    @property
    def data(self) -> Path | None:
        path = self.folder / "tests" / "data"
        return path if path.is_dir() else None


@dataclass(frozen=True)
class Environment:
    python: Path
    work: Path

    def run(self, *arguments: object) -> str:
        """What a command of the environment prints; raises :class:`Failed`."""
        dropped = ("MIDIGPT_", "MLFLOW_", "PYTHON", "PYTEST_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        settings = {"MIDIGPT_CACHE": self.work / "cache", "TRACKIO_DIR": self.work / "trackio", "HF_HUB_OFFLINE": 1}
        done = subprocess.run(
            [str(self.python), *map(str, arguments)],
            env=kept | {name: str(value) for name, value in settings.items()},
            cwd=self.work,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        if done.returncode:
            raise Failed(f"{' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def midigpt(self, *arguments: object) -> str:
        return self.run("-m", "midigpt", *arguments)


def examples() -> list[Example]:
    found = []
    for path in sorted((ROOT / "examples").glob("*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        points = project.get("entry-points", {})
        found.append(
            Example(
                folder=path.parent,
                distribution=project["name"],
                plugins=tuple(points.get("midigpt_core.plugins", {})),
                commands=tuple(points.get("midigpt_core.commands", {})),
            )
        )
    return found


def install(environment: Environment, wanted: Sequence[Example]) -> None:
    """Build the wheels from copies, for setuptools leaves folders where it builds, and install them."""
    constraint = ("--constraint", ROOT / "constraints.txt")
    environment.run("-m", "pip", "install", "--quiet", *constraint, "setuptools>=70.1", "pytest>=8")
    copies = [environment.work / "sources" / example.folder.name for example in wanted]
    for example, copy in zip(wanted, copies, strict=True):
        shutil.copytree(example.folder, copy, ignore=shutil.ignore_patterns("__pycache__", "tests"))
    wheels = environment.work / "wheels"
    # The backend is installed already; an environment of its own for each would take most of the time.
    build = ("--no-deps", "--no-build-isolation", "--wheel-dir", wheels)
    environment.run("-m", "pip", "wheel", "--quiet", *build, *copies)
    found = sorted(wheels.glob("*.whl"))
    environment.run("-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", *found)
    environment.run("-m", "pip", "install", "--quiet", *constraint, *found)
    environment.run("-m", "pip", "check")


def check_list(environment: Environment, wanted: Sequence[Example]) -> None:
    """What every distribution adds is listed and active, and the core does not come from the clone."""
    where = environment.run("-c", "import midigpt_core; print(midigpt_core.__file__)").strip()
    if Path(where).is_relative_to(ROOT / "midigpt_core"):
        raise Failed(f"the core is imported from {where}, not from its wheel")
    entries = json.loads(environment.midigpt("plugins", "list", "--json"))
    listed = {(entry["what"], entry["name"], entry["distribution"], entry["status"]) for entry in entries}
    expected = {("plugin", name, example.distribution, "active") for example in wanted for name in example.plugins}
    expected |= {("command", name, example.distribution, "active") for example in wanted for name in example.commands}
    if missing := sorted(expected - listed):
        raise Failed(f"midigpt plugins list lacks {missing}")


def tasks(environment: Environment, wanted: Sequence[Example]) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is done with each distribution, by name; they are independent of one another."""
    for example in wanted:
        for plugin in example.plugins:
            yield f"check {plugin}", lambda example=example, plugin=plugin: check(environment, example, plugin)
            yield f"train {plugin}", lambda example=example, plugin=plugin: train(environment, example, plugin)
        for command in example.commands:
            yield f"help {command}", lambda command=command: environment.midigpt(command, "--help")
    yield "tests", lambda: own_tests(environment, wanted)


def check(environment: Environment, example: Example, plugin: str) -> None:
    paths = [("--paths", f"{plugin}={example.data}")] if example.data else []
    environment.midigpt("plugins", "check", plugin, *(word for pair in paths for word in pair))


def own_tests(environment: Environment, wanted: Sequence[Example]) -> None:
    """The tests of all distributions without those of the kit, which :func:`check` runs."""
    # Written by `parametrize_with_checks`: tests with a parameter `check`.
    without_kit = """
import sys, pytest
class WithoutKit:
    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if "check" not in getattr(item, "fixturenames", ())]
sys.exit(pytest.main(sys.argv[1:], plugins=[WithoutKit()]))
"""
    folders = [example.folder / "tests" for example in wanted if (example.folder / "tests").is_dir()]
    settings = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", environment.work)
    environment.run("-c", without_kit, *settings, *folders)


def train(environment: Environment, example: Example, plugin: str) -> None:
    """A run for each component; one without a choice for a plugin of callbacks alone."""
    (report,) = json.loads(environment.midigpt("plugins", "show", plugin, "--json"))
    for number, flags in enumerate(choices(example, plugin, report["components"])):
        folder = environment.work / "runs" / f"{plugin}-{number}"
        base = (
            run_of_two_steps(environment, folder.with_name(f"{folder.name}-base"), {})
            if BASE in flags.values()
            else None
        )
        run_of_two_steps(environment, folder, {name: base if value is BASE else value for name, value in flags.items()})


def run_of_two_steps(environment: Environment, folder: Path, flags: dict[str, object]) -> Path:
    """Train, and return the bundle; a flag whose value is None is left out. Raises :class:`Failed`."""
    settings = TINY | {"train-data": SONGS, "encoder-config": "yellow"} | flags
    words = [word for name, value in settings.items() if value is not None for word in (f"--{name}", value)]
    environment.midigpt("train", *words, "--output-dir", folder)
    steps = [json.loads(line).get("step") for line in (folder / "metrics.jsonl").read_text().splitlines()]
    bundles = list(folder.glob("model_final*"))
    if 2 not in steps or not bundles:
        raise Failed(f"midigpt train {words}: steps {steps}, files {sorted(map(str, folder.iterdir()))}")
    return bundles[0]


def choices(example: Example, plugin: str, components: Sequence[dict[str, Any]]) -> Iterator[dict[str, object]]:
    """The flags of ``midigpt train`` that use each component."""
    if not components:
        yield {}
    for component in components:
        kind, name = component["kind"], f"{plugin}/{component['name']}"
        if kind == "architecture":
            # The sizes are settings of the bundled architectures; another one has its own options.
            yield {kind: name} | dict.fromkeys(SIZES)
        elif kind in PLAIN:
            yield {kind: name} | ({"train-data": example.data} if kind == "source" and example.data else {})
        elif kind == "encoder":
            yield {"encoder": name, "encoder-config": None}
        elif kind == "mask":
            yield {"mask": name, "mask-apply-probability": 0.5, "encoder-config": "ghost"}
        elif kind == "metric":
            yield {"music": 1, "metrics": json.dumps([name]), "eval-data": SONGS, "eval-steps": 1}
        elif kind == "adapter":
            yield {"adapter": name, "init-from": BASE, "encoder-config": None} | dict.fromkeys(SIZES)
        elif kind == "attribute":
            encoder = {"name": "midigpt", "config": "yellow", "attributes": [name]}
            yield {"encoder": json.dumps(encoder), "encoder-config": None}
        else:
            raise Failed(f"no run of examples/check_all.py uses a component of the kind {kind!r}. Write one there.")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", type=Path, required=True, help="python of an environment with the core's wheel")
    # absolute, not resolved: the link leads out of the environment.
    python = parser.parse_args().python.absolute()
    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begin:6.1f} s  {text}", flush=True)

    def attempt(task: tuple[str, Callable[[], object]]) -> bool:
        name, work = task
        try:
            work()
        except (Failed, subprocess.TimeoutExpired) as error:
            say(f"FAILED  {name}: {error}")
            return False
        say(f"ok      {name}")
        return True

    with tempfile.TemporaryDirectory() as work:
        environment, wanted = Environment(python, Path(work)), examples()
        first = (
            (f"install {len(wanted)} distributions", lambda: install(environment, wanted)),
            ("list", lambda: check_list(environment, wanted)),
        )
        if not all(map(attempt, first)):
            return 1
        with ThreadPoolExecutor(WORKERS) as pool:
            done = list(pool.map(attempt, tasks(environment, wanted)))
    say(f"{sum(done)} of {len(done)} passed.")
    return int(not all(done))


if __name__ == "__main__":
    sys.exit(main())
