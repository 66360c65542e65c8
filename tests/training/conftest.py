"""A small shard of real MIDI files, and configurations that train on it in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from midigpt_core.config import TrainConfig
from support.training import write_shard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.training import Configure


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads; and a forked child must not need a pool of its parent's."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One corpus cache for all tests of this folder."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIDIGPT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def midi_files(request: pytest.FixtureRequest) -> list[Path]:
    return sorted((request.config.rootpath / "tests" / "data" / "midi").glob("*.mid"))


@pytest.fixture(scope="session")
def shard(tmp_path_factory: pytest.TempPathFactory, midi_files: list[Path]) -> Path:
    return write_shard(tmp_path_factory.mktemp("shards") / "train.parquet", midi_files)


@pytest.fixture(scope="session")
def eval_shard(tmp_path_factory: pytest.TempPathFactory, midi_files: list[Path]) -> Path:
    """One piece."""
    return write_shard(
        tmp_path_factory.mktemp("shards") / "eval.parquet", [file for file in midi_files if "bach" in file.name]
    )


@pytest.fixture(scope="session")
def make_config() -> Configure:
    """``make_config(folder, **changes)``: a configuration whose runs take a second or two."""

    def make(folder: Path, **changes: Any) -> TrainConfig:
        values: dict[str, Any] = {
            "n_embd": 32,
            "n_layer": 1,
            "n_head": 2,
            "n_positions": 256,
            "max_seq_len": 256,
            "max_tracks": 2,
            "batch_size": 2,
            "max_steps": 6,
            "warmup_steps": 2,
            "learning_rate": 1e-2,
            "precision": "fp32",
            "eval_rows": 4,
            "mask_apply_probability": 0.0,
            "output_dir": str(folder),
        }
        return TrainConfig(**{**values, **changes})

    return make


@pytest.fixture
def configure(tmp_path: Path, make_config: Configure) -> Configure:
    """The same with folders of this test: ``configure("run", **changes)``."""
    return lambda folder="run", **changes: make_config(tmp_path / folder, **changes)
