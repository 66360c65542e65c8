"""Lists what the public package midigpt 0.4.2 offers, as docs/migrating.md has to cover it.

.venv-baseline/bin/python tests/parity/surface.py > tests/data/surface-0.4.2.json

It is run by the package's own interpreter and looks at names, signatures and `--help` alone.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

MODULES = (
    "midigpt", "midigpt.attributes", "midigpt.augmentation", "midigpt.http", "midigpt.inference", "midigpt.tokenizer",
    "midigpt.training", "midigpt.utils",
)  # fmt: skip
CLASSES = {
    "midigpt": ("Score", "Track", "Bar", "Note"),
    "midigpt.inference": (
        "GenerationRequest", "InferenceConfig", "InferenceEngine", "SamplingSession", "TrackPrompt",
    ),
    "midigpt.tokenizer": ("Tokenizer",),
}  # fmt: skip
PROGRAMS = ("midigpt-http",)
PROGRAM_MODULES = ("midigpt.training.preprocess", "midigpt.training.trainer")
#: They need a package that the baseline's environment lacks.
FURTHER_PROGRAMS = ("midigpt-server", "midigpt-listen")


def main() -> None:
    json.dump(surface(), sys.stdout, indent=1, sort_keys=True)
    print()


def surface() -> dict[str, Any]:
    return {
        "names": {name: public_names(name) for name in MODULES},
        "members": {
            f"{module}.{name}": members(getattr(importlib.import_module(module), name))
            for module, names in CLASSES.items()
            for name in names
        },
        "settings": defaults(importlib.import_module("midigpt.training").TrainConfig),
        "request": defaults(importlib.import_module("midigpt.inference").InferenceConfig),
        "programs": programs(),
    }


def public_names(module_name: str) -> list[str]:
    module = importlib.import_module(module_name)
    exported = getattr(module, "__all__", None)
    if exported is None:
        exported = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module_name]
    return sorted(name for name in exported if not name.startswith("_"))


def members(cls: type) -> list[str]:
    named = [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []
    methods = [name for name, value in inspect.getmembers(cls) if callable(value) and not name.startswith("_")]
    return sorted({*named, *methods})


def defaults(cls: Any) -> dict[str, Any]:
    return {
        field.name: None if field.default is dataclasses.MISSING else field.default for field in dataclasses.fields(cls)
    }


def programs() -> dict[str, list[str]]:
    commands = {name: [str(Path(sys.executable).with_name(name))] for name in PROGRAMS}
    commands |= {f"python -m {name}": [sys.executable, "-m", name] for name in PROGRAM_MODULES}
    found: dict[str, list[str]] = {name: [] for name in FURTHER_PROGRAMS}
    for name, command in commands.items():
        usage = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
        found[name] = sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", usage)) - {"--help"})
    return found


if __name__ == "__main__":
    main()
