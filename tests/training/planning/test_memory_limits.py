"""Settings that need more memory than there is are rejected before any is allocated."""

from __future__ import annotations

import re
import resource
from typing import TYPE_CHECKING, Any

import pytest

from midigpt_core.errors import ConfigError, TrainingError
from midigpt_core.system import control_groups
from midigpt_core.training.dry_run import describe, estimate, require_memory
from midigpt_core.training.planning import host_memory
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import train

if TYPE_CHECKING:
    from pathlib import Path

    from support.training import Configure

LARGE = 10**9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_tracks": 2**31 - 1}, r"max_tracks: with 2147483647, the windows drawn at once need 3,072.0 GiB"),
        ({"max_seq_len": LARGE, "n_positions": LARGE}, r"max_seq_len: with 1000000000, 64 packed rows need 774.9 GiB"),
        ({"eval_rows": 10**6, "max_seq_len": 2**20, "n_positions": 2**20}, r"eval_rows: with 1000000, the packed rows"),
        ({"batch_size": 2**31 - 1}, r"batch_size: with 2147483647, a batch of packed rows of \d+ tokens need"),
    ],
)
def test_rows_and_windows(configure: Configure, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(configure(**settings), "nothing is read", "nor this")


def test_a_model_is_refused_before_it_is_made(configure: Configure, shard: Path) -> None:
    config = configure(n_positions=LARGE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TrainingError, match=r"weights.* 119\.\d GiB.* n_positions"):
        train(config, shard)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20
    # What a larger machine would need can be asked for.
    assert re.search(r"^memory +476\.", describe(prepare(config, shard)), re.MULTILINE)


def test_activations_count_where_they_take_the_hosts_memory(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = prepare(configure(precision="fp32"), shard)
    found = estimate(plan)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for memory in (found.state_bytes + found.activation_bytes, found.state_bytes):
        monkeypatch.setattr("midigpt_core.training.dry_run.host_memory", lambda memory=memory: memory)
        if memory > found.state_bytes:
            require_memory(plan)
        else:
            with pytest.raises(TrainingError, match=r"its weights, optimiser state and activations need .* MiB"):
                require_memory(plan)


def test_a_dry_run_refuses_what_training_refuses(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = prepare(configure(strategy="fsdp", precision="fp16"), shard)
    estimate(plan)  # without a GPU fp16 is fp32
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(ConfigError, match="strategy: fsdp does not support precision fp16"):
        describe(plan)


def test_the_memory_of_a_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = host_memory.host_memory()
    assert whole > 1 << 30
    for line, files in (
        ("0::/a/b", {"a/memory.max": "1048576", "a/b/memory.max": "max"}),
        ("4:cpu,memory:/a/b", {"memory/a/memory.limit_in_bytes": "1048576"}),
    ):
        root = tmp_path / line[0]
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(f"{content}\n")
        (root / "membership").write_text(f"{line}\n")
        monkeypatch.setattr(control_groups, "MEMBERSHIP", root / "membership")
        monkeypatch.setattr(control_groups, "ROOT", root)
        assert host_memory.host_memory() == 1 << 20
    host_memory.require_rows_fit(max_seq_len=64, max_tracks=4, batch_size=2)
    with pytest.raises(ConfigError, match=r"only 1\.0 MiB of memory"):
        host_memory.require_rows_fit(max_seq_len=2048, max_tracks=12, batch_size=32)
