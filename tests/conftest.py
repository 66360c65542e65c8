"""Fixtures that several folders share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from midigpt_core.plugins import Selection, current_registry, load_registry, use_registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midigpt_core.plugins import Registry

DATA = Path(__file__).parent / "data"


@pytest.fixture
def tiny_registry() -> Iterator[Registry]:
    """The bundled plugins and ``tests/data/plugins`` (encoders ``tiny`` and ``whole``) as the process's registry."""
    before = current_registry()
    registry = load_registry(Selection(plugin_dirs=(str(DATA / "plugins"),)))
    use_registry(registry)
    yield registry
    use_registry(before)
