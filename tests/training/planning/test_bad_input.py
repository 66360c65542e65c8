"""What cannot be trained is refused in one line that names it, before anything is written."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from midigpt_core.errors import MidigptError, TrainingError
from midigpt_core.training.loop.module import TrainingModule
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import train
from support.training import metrics

if TYPE_CHECKING:
    from support.training import Configure


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"max_seq_len": 512}, "max_seq_len: 512"),
        ({"n_embd": 30, "n_head": 4}, "n_embd: 30"),
        ({"num_bars_choices": [4, 5]}, r"num_bars_choices: 5 is not a window size .*4, 8"),
        ({"mask_apply_probability": 0.5, "mask": "structured"}, "Choose an encoder that does: --encoder-config ghost."),
        ({"velocity_off_probability": 0.5}, "velocity_off_probability: is 0.5"),
        ({"logger": "tensorbord"}, "no logger named 'tensorbord'. Did you mean 'tensorboard'"),
        ({"mask": {"name": "random", "bar_fracton": 0.5}}, "bar_fraction"),
        ({"encoder_config_path": "yelow"}, "yelow"),
        ({"encoder_config_path": "missing.json"}, r"missing\.json"),
        ({"encoder_config_path": "missing.pt"}, r"missing\.pt"),
        ({"init_from": "missing.pt"}, r"missing\.pt"),
        ({"checkpoint_format": "legacy-directory"}, "legacy-directory"),
        ({"min_tracks": 40, "max_tracks": 50}, "min_tracks 40"),
    ],
)
def test_settings_that_do_not_go_together(
    configure: Configure, shard: Path, changes: dict[str, Any], named: str
) -> None:
    config = configure(**changes)
    with pytest.raises(MidigptError, match=named) as caught:
        prepare(config, shard)
    assert "\n" not in str(caught.value)
    assert not Path(config.output_dir).exists()


MASK_GIVES_WAY = "mask_apply_probability is 0 instead of 0.5: the encoder has no MaskBar token (capability 'mask_bar')."


def _prepared(configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture, **given: Any) -> tuple[Any, Any]:
    """What is prepared of defaults and ``given``, and what is said: (level, message)."""
    config = configure()
    sizes = {name: getattr(config, name) for name in ("n_positions", "max_seq_len", "max_tracks")}
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "midigpt_core.training"):
        plan = prepare(type(config)(**sizes, **given), shard)
    return plan, [(record.levelname, record.message) for record in caplog.records]


def test_defaults_give_way_and_only_one_that_was_written_down_is_said(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan, said = _prepared(configure, shard, caplog)
    assert said == [("DEBUG", MASK_GIVES_WAY)]
    written, said = _prepared(
        configure, shard, caplog, mask_apply_probability=0.5, mask_mode=2, infill_probability=0.75
    )
    assert said == [("WARNING", MASK_GIVES_WAY)]
    for one in (plan, written):
        assert one.training.mask is None
        assert one.training.settings.mask_apply_probability == 0
    assert written.training.settings == plan.training.settings
    _, said = _prepared(configure, shard, caplog, mask_apply_probability=0.9)
    assert said == [("WARNING", MASK_GIVES_WAY.replace("0.5", "0.9"))]


@pytest.mark.parametrize("written", [{}, {"num_bars_choices": [4, 8]}])
def test_default_windows_give_way_to_the_encoders(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path, written: dict[str, Any]
) -> None:
    encoder = prepare(configure(), shard).encoder.to_config()
    path = tmp_path / "four.json"
    path.write_text(json.dumps({**encoder, "num_bars_map": [4]}), encoding="utf-8")
    plan, said = _prepared(
        configure, shard, caplog, encoder_config_path=str(path), mask_apply_probability=0.0, **written
    )
    assert plan.training.settings.num_bars_choices == (4,)
    assert said == [("WARNING" if written else "DEBUG", "num_bars_choices is [4]: the encoder's window sizes are 4.")]


def test_a_run_folder_that_cannot_be_made_is_found_before_the_data_is_read(
    configure: Configure, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    config = configure(output_dir=str(tmp_path / "file" / "run"))
    with pytest.raises(MidigptError, match=r"file/run: cannot be written \(Not a directory\)"):
        prepare(config, tmp_path / "nowhere.parquet")


def test_data_that_is_not_there_or_not_music(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(MidigptError, match=r"nowhere\.parquet"):
        prepare(configure(), tmp_path / "nowhere.parquet")
    pq.write_table(pa.table({"title": ["a"]}), tmp_path / "titles.parquet")
    with pytest.raises(MidigptError, match=r"titles\.parquet.*music"):
        prepare(configure(), tmp_path / "titles.parquet")
    pq.write_table(pa.table({"music": [b"not MIDI"]}), tmp_path / "noise.parquet")
    with pytest.raises(MidigptError, match=r"noise\.parquet: no row .*\(no_header 1\)"):
        prepare(configure(), tmp_path / "noise.parquet")


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(configure: Configure, shard: Path) -> None:
    heads: list[tuple[torch.Tensor, torch.Tensor]] = []
    original = TrainingModule.training_step

    def training_step(self: TrainingModule, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.trainer.global_step == 3:
            head = self.model.lm_head.weight
            heads.append((head, head.detach().clone()))
            with torch.no_grad():
                self.model.transformer.wpe.weight[0] = float("nan")
        return original(self, batch, batch_idx)

    config = configure(save_steps=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", training_step)
        with pytest.raises(
            TrainingError, match=r"step 4: the loss is not finite in 2 packed rows \(.*train\.parquet, row"
        ):
            train(config, shard)
    ((after, before),) = heads
    assert torch.equal(after, before)
    run_dir = Path(config.output_dir)
    assert [line["step"] for line in metrics(run_dir)] == [1, 2, 3]
    assert (run_dir / "checkpoints" / "step2.ckpt").exists()
    assert not (run_dir / "model_final.pt").exists()
