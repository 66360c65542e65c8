"""Packages whose names are imported when they are first asked for."""

from __future__ import annotations

import importlib

import pytest

PACKAGES = ["config", "plugins", "score", "checkpoint", "inference"]


@pytest.mark.parametrize(
    "package", [*(f"midigpt_core.{name}" for name in PACKAGES), "midigpt_core.terminal", "midigpt.training.trainer"]
)
def test_every_name_of_a_package_is_there_and_no_other(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = module.nothing
