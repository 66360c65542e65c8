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


@pytest.fixture(scope="session")
def _tiny() -> Registry:
    return load_registry(Selection(plugin_dirs=(str(DATA / "plugins"),)))


@pytest.fixture
def tiny_registry(_tiny: Registry) -> Iterator[Registry]:
    """The bundled plugins and ``tests/data/plugins`` (encoders ``tiny`` and ``whole``) as the process's registry."""
    before = current_registry()
    use_registry(_tiny)
    yield _tiny
    use_registry(before)
