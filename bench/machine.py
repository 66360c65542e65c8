"""Describes the machine of a bench run: the properties that affect the figures, and nothing that names it."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from midigpt_core.cores import available_cores

_PACKAGES = ("midigpt-core", "numpy", "pyarrow", "torch", "symusic")


def describe() -> dict[str, Any]:
    return {
        "cores": available_cores(),
        "cpu": _cpu_model(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        # How busy others kept the machine: figures taken under load are lower, ratios less so.
        "load_before": round(os.getloadavg()[0], 1),
    }


def today() -> str:
    """ISO, UTC."""
    return datetime.now(UTC).date().isoformat()


def summary(machine: dict[str, Any]) -> str:
    return f"{machine['cores']} cores of {machine['cpu']}, {machine['system']}, Python {machine['python']}"


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown CPU"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
