"""Validation: always the same windows, losses by kind of document and group of tokens, the same figures afterwards."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from midigpt_core.cli.main import main
from midigpt_core.training.evaluate import evaluate
from midigpt_core.training.loop.losses import KINDS
from midigpt_core.training.loop.token_groups import GROUPS
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import train
from support.training import evaluations, metrics

if TYPE_CHECKING:
    from pathlib import Path

    from support.training import Configure

NAMES = {"eval_loss", *(f"eval_loss/{name}" for name in (*KINDS, *GROUPS))}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_evaluate_gives_the_figures_of_the_run(
    configure: Configure, shard: Path, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Seven rows in batches of two: the last batch is smaller.
    result = train(configure(precision=precision, eval_steps=3, eval_rows=7), shard, shard)
    first, last = evaluations(result.run_dir)
    assert set(last) == {"step", *NAMES}
    assert last["eval_loss"] < first["eval_loss"]
    report = evaluate(result.bundle, shard, device="cpu")
    assert {"step": 6, **report.scalars()} == last
    assert (
        main(["evaluate", "--checkpoint", str(result.bundle), "--data", str(shard), "--device", "cpu", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out) == report.to_dict()
    if precision == "bf16":
        assert evaluate(result.bundle, shard, device="cpu", precision="fp32").loss != report.loss


def test_windows_of_more_bars_than_in_training(
    configure: Configure, shard: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(max_steps=1, num_bars_choices=[4], max_seq_len=128, n_positions=1024, architecture="llama")
    bundle = train(config, shard).bundle
    as_trained, longer = (evaluate(bundle, shard, device="cpu", rows=4, bars=bars) for bars in (None, 8))
    assert as_trained.tokens <= 4 * 128 < longer.tokens <= 4 * 1024
    assert main(["evaluate", "--checkpoint", str(bundle), str(shard), "--bars", "5"]) == 2
    assert "bars: 5 is not a window size of the bundle's encoder. Choose among 4, 8." in capsys.readouterr().err


def test_the_windows_do_not_depend_on_the_run(configure: Configure, shard: Path) -> None:
    one = prepare(configure(encoder_config_path="ghost"), shard, shard)
    other = prepare(
        configure(
            encoder_config_path="ghost",
            seed=7,
            transpose_range=[3, 5],
            velocity_scale=[0.5, 0.6],
            mask_apply_probability=1.0,
            attribute_dropout=0.9,
            loss_on="targets",
        ),
        shard,
        shard,
    )
    streams = [plan.evaluation.open().block(0).batch for plan in (one, other) if plan.evaluation]
    assert (streams[0].input_ids == streams[1].input_ids).all()
    assert (streams[0].role == streams[1].role).all()
    mask_bar = one.encoder.vocabulary.type_names.index("MaskBar")
    assert not (one.encoder.vocabulary.type_of[streams[0].input_ids] == mask_bar).any()


def test_evaluating_changes_nothing_about_the_training(configure: Configure, shard: Path) -> None:
    without = metrics(train(configure("without"), shard).run_dir)
    often = metrics(train(configure("often", eval_steps=1), shard, shard).run_dir)
    assert [line["loss"] for line in often] == [line["loss"] for line in without]


def test_weights_and_biases_gets_what_the_metrics_file_gets(
    configure: Configure, shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-home"))
    config = configure(logger={"name": "wandb", "mode": "offline"}, log_steps=2, max_steps=2)
    result = train(config, shard, shard)
    (log,) = (result.run_dir / "wandb").glob("offline-run-*/*.wandb")
    expected = NAMES | {"loss", "gradient_norm", "learning_rate", "tokens_per_second", "padding", "data_wait"}
    # W&B's own process closes the file after the run has returned: later on a busy machine.
    deadline = time.monotonic() + 60
    while missing := {name for name in expected if name.encode() not in log.read_bytes()}:
        assert time.monotonic() < deadline, missing
        time.sleep(0.1)
