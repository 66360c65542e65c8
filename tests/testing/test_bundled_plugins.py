"""The bundled plugins pass the kit that third parties run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from midigpt_core.testing import checks_of

if TYPE_CHECKING:
    from midigpt_core.testing import Check

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
PLUGINS = (
    "masking",
    "encoder",
    "gpt2",
    "llama",
    "optimizers",
    "bundles",
    "legacy",
    "loggers",
    "midifiles",
    "metrics",
    "gigamidi",
)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = sorted(MIDI.glob("*.mid"))[:5]
    columns = {"md5": [f.stem for f in files], "music": [f.read_bytes() for f in files], "total_notes": [0, 9, 9, 9, 9]}
    path = tmp_path_factory.mktemp("gigamidi") / "00000.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    "check", [pytest.param(check, id=check.id) for name in PLUGINS[:-1] for check in checks_of(name)]
)
def test_bundled(check: Check) -> None:
    check()


@pytest.mark.parametrize("identity", [check.id for check in checks_of("gigamidi")])
def test_gigamidi(identity: str, shard: Path) -> None:
    (check,) = (check for check in checks_of("gigamidi", paths={"gigamidi": [str(shard)]}) if check.id == identity)
    check()


@pytest.mark.parametrize("preset", ["ghost", "expressive", "prism"])
def test_every_preset(preset: str) -> None:
    checks = [
        c for c in checks_of("encoder", options={"midigpt": {"config": preset}}) if c.id.startswith("encoder-midigpt")
    ]
    assert len(checks) > 8
    for check in checks:
        check()
