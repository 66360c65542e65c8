"""``midigpt doctor``."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from attrs import frozen

from midigpt_core import API_VERSION, __version__
from midigpt_core.cli.echo import echo_json, echo_lines
from midigpt_core.cli.encoders import presets_of
from midigpt_core.cli.options import common_options
from midigpt_core.cli.selected import plugin_entries, registry
from midigpt_core.cli.tables import table
from midigpt_core.contracts import EncoderContext
from midigpt_core.cores import available_cores
from midigpt_core.corpus.cache import cache_root
from midigpt_core.errors import MidigptError
from midigpt_core.plugins.building import build
from midigpt_core.plugins.describe import describe
from midigpt_core.system import capabilities
from midigpt_core.system.machine import load_average, system_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Extras of the distribution and a package of each.
_EXTRAS = {
    "tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow-skinny", "ray": "ray", "server": "fastapi",
    "audio": "pyfluidsynth", "peft": "peft",
}  # fmt: skip
#: Free bytes of the cache's disk below which a corpus of some size does not fit.
_LITTLE_SPACE = 2 << 30
#: Load per core above which training is slower than it has to be.
_BUSY = 1.5


@frozen
class Finding:
    """One line of the report. ``text`` of a problem says what to do."""

    about: str
    status: Literal["ok", "note", "problem"]
    text: str


@common_options
@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check the installation and the machine: each line is ok, a note, or a problem and what to do about it.

    The exit code is 1 if there is a problem. Nothing is changed, and nothing is sent.
    """
    found = [finding for check in _CHECKS for finding in check(ctx)]
    if as_json:
        echo_json([{"about": each.about, "status": each.status, "text": each.text} for each in found])
    else:
        echo_lines(table(("about", "status", ""), [(each.about, each.status, each.text) for each in found]))
    if any(each.status == "problem" for each in found):
        ctx.exit(1)


def _versions(_: click.Context) -> Iterator[Finding]:
    yield Finding("midigpt-core", "ok", f"{__version__}, plugin API {API_VERSION}, Python {platform.python_version()}")
    for name in ("torch", "lightning", "transformers", "pyarrow", "numpy"):
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "problem", f"is not installed. pip install {name}")


def _native_code(_: click.Context) -> Iterator[Finding]:
    try:
        from midigpt_core import _native  # noqa: F401
    except ImportError as error:
        yield Finding("native code", "problem", f"{error}. Install midigpt-core again: pip install --force-reinstall")
    else:
        yield Finding("native code", "ok", "built for this Python")


def _system(_: click.Context) -> Iterator[Finding]:
    lacking = capabilities.lacking()
    if lacking:
        text = f"{system_name()}, which does without {', '.join(lacking)}: docs/systems.md says what differs"
        yield Finding("system", "note", text)
    else:
        yield Finding("system", "ok", f"{system_name()}, which has all that midigpt-core uses")


def _device(_: click.Context) -> Iterator[Finding]:
    try:
        import torch
    except ImportError as error:
        yield Finding("device", "problem", f"torch cannot be imported: {error}")
        return
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(index).total_memory
            yield Finding("device", "ok", f"cuda:{index}, {torch.cuda.get_device_name(index)}, {_bytes(memory)}")
    elif torch.version.cuda:
        why = "torch is built for CUDA and finds no GPU. Look at nvidia-smi; without a GPU training uses the CPU"
        yield Finding("device", "note", why)
    else:
        yield Finding("device", "ok", "cpu (this torch is built without CUDA)")
    threads, cores = torch.get_num_threads(), available_cores()
    load = load_average()
    text = f"{threads} threads of torch, {cores} cores, load {load:.1f}"
    if load > _BUSY * cores:
        yield Finding("threads", "note", f"{text}: other processes are running, and training will take longer")
    else:
        yield Finding("threads", "ok", text)


def _cache(_: click.Context) -> Iterator[Finding]:
    try:
        cache = cache_root()
    except MidigptError as error:
        yield Finding("cache", "problem", str(error))
        return
    folder = next(each for each in (cache, *cache.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield Finding(
            "cache", "problem", f"{cache}: cannot be written ({error.strerror}). Name another folder in MIDIGPT_CACHE"
        )
        return
    free = shutil.disk_usage(folder).free
    size = f"{_bytes(_size(cache))} in it, " if folder == cache else ""
    if free < _LITTLE_SPACE:
        hint = "'midigpt corpus clean' removes what is damaged or outdated, MIDIGPT_CACHE names another folder"
        yield Finding("cache", "problem", f"{cache}: {size}only {_bytes(free)} free. {hint}")
    else:
        yield Finding("cache", "ok", f"{cache}: {size}{_bytes(free)} free")


def _plugins(ctx: click.Context) -> Iterator[Finding]:
    entries = plugin_entries(ctx)
    reports = [describe(entry) for entry in entries if entry.status != "disabled"]
    broken = [
        (f"{report.entry}", error)
        for report in reports
        for error in [report.error, *(component.error for component in report.components)]
        if error
    ]
    for name, error in broken:
        yield Finding("plugins", "problem", f"{name}: {error}. Mend or uninstall it, or use --no-plugin")
    if not broken:
        yield Finding("plugins", "ok", f"{len(reports)}: {', '.join(sorted(report.entry.name for report in reports))}")


def _presets(ctx: click.Context) -> Iterator[Finding]:
    working = []
    for item in registry(ctx).provided("encoder"):
        for preset in presets_of(item):
            try:
                build(item.ref({"config": preset}), EncoderContext())
            except MidigptError as error:
                yield Finding("presets", "problem", f"{preset}: {error}")
            else:
                working.append(preset)
    yield Finding("presets", "ok" if working else "problem", ", ".join(working) or "no encoder has a preset")


def _hub(_: click.Context) -> Iterator[Finding]:
    try:
        from huggingface_hub import get_token
        from huggingface_hub.constants import HF_HUB_OFFLINE
    except ImportError as error:
        yield Finding("Hugging Face Hub", "problem", f"huggingface_hub cannot be imported: {error}")
        return
    if HF_HUB_OFFLINE:
        yield Finding("Hugging Face Hub", "note", "offline: HF_HUB_OFFLINE is set, only downloaded files are used")
        return
    try:
        token = get_token()
    except OSError as error:  # for example written by another user
        hint = "Delete it and run 'hf auth login'"
        yield Finding(
            "Hugging Face Hub", "problem", f"the token {error.filename} cannot be read ({error.strerror}). {hint}"
        )
        return
    if token:
        yield Finding("Hugging Face Hub", "ok", "there is a token")
    else:
        yield Finding("Hugging Face Hub", "note", "no token: gated data such as GigaMIDI needs 'hf auth login'")


def _extras(_: click.Context) -> Iterator[Finding]:
    missing = []
    for extra, package in _EXTRAS.items():
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            missing.append(extra)
    present = ", ".join(extra for extra in _EXTRAS if extra not in missing)
    if missing:
        hint = f"pip install 'midigpt-core[{','.join(missing)}]' adds {', '.join(missing)}"
        yield Finding("extras", "note", f"{present}. {hint}" if present else hint)
    else:
        yield Finding("extras", "ok", present)


def _sound(_: click.Context) -> Iterator[Finding]:
    from midigpt_core.audio.banks import sound_bank
    from midigpt_core.audio.libraries import audio_libraries

    try:
        audio_libraries()
        yield Finding("sound", "ok", f"FluidSynth with {sound_bank(option='--soundfont')}")
    except MidigptError as error:  # nothing but --audio and sample_audio needs it
        yield Finding("sound", "note", str(error))


_CHECKS: tuple[Callable[[click.Context], Iterator[Finding]], ...] = (
    _versions,
    _native_code,
    _system,
    _device,
    _cache,
    _plugins,
    _presets,
    _hub,
    _extras,
    _sound,
)


def _size(folder: Path) -> int:
    """Bytes of the files in ``folder``; a build may add and remove some meanwhile."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(path, name).lstat().st_size
    return total


def _bytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 1 << 30 else f"{count / 2**20:.0f} MiB"
