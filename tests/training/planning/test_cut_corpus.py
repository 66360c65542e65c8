"""A corpus that is cut off under a run ends it in a line, with workers and without."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from midigpt_core.data.blocks import BlockMaker
from midigpt_core.errors import CorpusError
from midigpt_core.training.run import train

if TYPE_CHECKING:
    from pathlib import Path

    from midigpt_core.data.blocks import Block
    from support.training import Configure


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_corpus_cut_off_under_a_run_is_named(
    configure: Configure, shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int
) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    original = BlockMaker.make

    def make(self: BlockMaker, index: int) -> Block:
        block = original(self, index)
        if index == 1:
            for path in (tmp_path / "cache" / "corpus").glob("*/pieces.arrow"):
                os.truncate(path, 0)
        return block

    monkeypatch.setattr(BlockMaker, "make", make)
    config = configure(max_steps=1000, batch_size=16, num_workers=num_workers)
    with pytest.raises(CorpusError, match=r"pieces\.arrow: was cut off while it was in use, .*midigpt corpus clean"):
        train(config, shard)
