"""Model FLOPs: as PyTorch counts them, over the documents that there are."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from midigpt_core.data.datasets import batches
from midigpt_core.training.dry_run import estimate
from midigpt_core.training.loop.initial import initial_model
from midigpt_core.training.loop.losses import token_losses
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.reporting.flops import ModelFlops, peak_flops
from midigpt_core.training.run import fit
from support.training import metrics

if TYPE_CHECKING:
    from pathlib import Path

    from support.training import Configure


def squares(document_ids: torch.Tensor) -> int:
    """Squared lengths of the documents of rows, summed."""
    return sum(int((row[row >= 0].bincount() ** 2).sum()) for row in document_ids.long())


def test_the_formula_is_what_the_operations_add_up_to(configure: Configure, shard: Path) -> None:
    plan = prepare(configure(n_embd=64, n_layer=3, n_head=4, max_seq_len=200), shard)
    model = initial_model(plan.config, plan.chosen.architecture, plan.encoder.vocab_size)
    tokens = torch.zeros(1, 200, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        token_losses(model(tokens), tokens).sum().backward()
    counts = counter.get_flop_counts()["Global"]
    products = sum(count for operation, count in counts.items() if "mm" in str(operation))
    flops = ModelFlops.of_model(model)
    # N has the biases and norms too.
    assert flops.of(200, 0) == pytest.approx(products, rel=0.02)
    assert flops.per_token > products / 200
    # 2 products of [200, 16] and [16, 200] in each of 4 heads forwards, twice as many backwards.
    assert flops.of(0, 200 * 200) == 3 * (2 + 4) * 4 * 2 * 200 * 16 * 200


def test_a_run_reports_its_share_of_the_peak_where_that_is_known(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = metrics(fit(prepare(configure("unknown", max_steps=1), shard)).run_dir)
    assert "mfu" not in unknown[0]
    monkeypatch.setattr("midigpt_core.training.reporting.steps.peak_flops", lambda device, precision: 1e10)
    plan = prepare(configure("known", accumulation=2, max_steps=2), shard)
    flops = ModelFlops.of_model(initial_model(plan.config, plan.chosen.architecture, plan.encoder.vocab_size))
    first_step = list(islice(batches(plan.training, batch_size=2, first_row=0), 2))
    pairs = sum(squares(batch["document_ids"]) for batch in first_step)
    line = metrics(fit(plan).run_dir)[0]
    expected = flops.of(line["tokens"], pairs) / line["seconds"] / 1e10
    assert line["mfu"] == pytest.approx(expected, rel=1e-2, abs=1e-4)


def test_a_dry_run_says_the_flops_of_a_step(configure: Configure, shard: Path) -> None:
    plan = prepare(configure(batch_size=4, accumulation=2), shard)
    found = estimate(plan)
    rows = plan.training.open().block(0).batch.document_ids
    flops = ModelFlops.of_model(initial_model(plan.config, plan.chosen.architecture, plan.encoder.vocab_size))
    pairs = squares(torch.from_numpy(rows.copy())) * 8 / len(rows)
    assert found.flops_per_step == pytest.approx(flops.of(found.tokens_per_step, pairs), rel=1e-6)


def test_the_peak_of_a_device_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"NVIDIA H200": 989e12, "NVIDIA H100 80GB HBM3": 989e12, "NVIDIA H100 PCIe": 756e12, "Quadro": None}
    gpu = torch.device("cuda")
    for name, peak in names.items():
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _, name=name: name)
        assert peak_flops(gpu, "bf16") == peak
        assert peak_flops(gpu, "fp32") is None
    assert peak_flops(torch.device("cpu"), "bf16") is None
