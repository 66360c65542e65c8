"""Golden rows and the writer of MIDI bytes as fixtures."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from support.midi_bytes import MidiBytes

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def midi_folder() -> Path:
    return DATA / "midi"


@pytest.fixture(scope="session")
def golden_rows() -> Any:
    """``golden_rows("scores")``: the rows of that golden file."""

    def rows(name: str) -> list[dict[str, Any]]:
        with gzip.open(DATA / "goldens" / f"{name}.jsonl.gz", "rt") as lines:
            return [json.loads(line) for line in lines]

    return rows


@pytest.fixture(scope="session")
def midi() -> MidiBytes:
    return MidiBytes()
