"""Makes :mod:`corpus_parts` and :mod:`corpus_parsers` importable, also by the processes that the tests start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
