"""A command chooses the process's registry; every test gets its own."""

from __future__ import annotations

import pytest

from midigpt_core.plugins import registry


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_current", [])
