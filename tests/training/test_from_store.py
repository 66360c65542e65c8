"""Training from corpora in an object store: fetched once on each machine, then mapped from its cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from midigpt_core.corpus.build import build
from midigpt_core.corpus.shared_store import SharedStore
from midigpt_core.plugins import current_registry
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import fit, train
from support.object_store import object_store
from support.training import curve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.training import Configure


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with object_store() as address:
        yield address


def test_a_run_fetches_corpora_once_and_maps_them(
    configure: Configure, shard: Path, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home = train(configure("home"), shard)
    store = SharedStore(s3)
    source = current_registry().resolve("source", "gigamidi")
    build(source, [str(shard)], cache=tmp_path / "builder", store=store, publish=True)
    node = tmp_path / "node"
    monkeypatch.setenv("MIDIGPT_CACHE", str(node))
    monkeypatch.setenv("MIDIGPT_STORE", s3)
    # Nothing is parsed on the node.
    monkeypatch.setattr("midigpt_core.corpus.build.IsolatedParser", None)
    fetched: list[str] = []
    fetch = SharedStore.fetch

    def counted(self: SharedStore, folder: Path) -> Any:
        fetched.append(folder.name)
        return fetch(self, folder)

    monkeypatch.setattr(SharedStore, "fetch", counted)
    plan = prepare(configure("first"), shard)
    stream = plan.training.open()
    (data,) = plan.training.shards
    assert data.is_relative_to(node)
    assert str(data) in Path("/proc/self/maps").read_text(encoding="utf-8"), "the stream does not map the copy"
    del stream
    first = fit(plan)
    second = train(configure("second"), shard)
    assert len(fetched) == 1
    assert curve(first.run_dir) == curve(second.run_dir) == curve(at_home.run_dir)
    (trained_on,) = json.loads((second.run_dir / "corpus.json").read_text(encoding="utf-8"))["train"]["shards"]
    assert trained_on == str(data)
