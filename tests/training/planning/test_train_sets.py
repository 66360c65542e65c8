"""Several training sets by weight: a run's tokens, its reports, and how it continues."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from midigpt_core.cli.main import main
from midigpt_core.config import TrainConfig
from midigpt_core.errors import ConfigError, MidigptError
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import train
from support.training import curve, metrics

if TYPE_CHECKING:
    from pathlib import Path

    from support.training import Configure


def sets(shard: Path, eval_shard: Path, **of_second: Any) -> list[dict[str, Any]]:
    return [{"paths": str(shard)}, {"paths": [str(eval_shard)], "weight": 3, "name": "bach", **of_second}]


def test_tokens_come_from_the_sets_by_weight_and_are_counted(
    configure: Configure, shard: Path, eval_shard: Path
) -> None:
    result = train(configure(max_steps=12, batch_size=8, train_sets=sets(shard, eval_shard)))
    steps = metrics(result.run_dir)
    assert all(step["tokens/set1"] + step["tokens/bach"] == step["tokens"] for step in steps)
    of_bach = sum(step["tokens/bach"] for step in steps) / sum(step["tokens"] for step in steps)
    assert 0.4 < of_bach < 0.95
    written = json.loads((result.run_dir / "corpus.json").read_text(encoding="utf-8"))
    assert [(one["name"], one["weight"], one["pieces"]) for one in written["train_sets"]][1] == ("bach", 3.0, 1)
    assert written["train"]["pieces"] == sum(one["pieces"] for one in written["train_sets"])
    again = TrainConfig.from_file(result.run_dir / "config.json")
    assert again.to_dict() == configure(max_steps=12, batch_size=8, train_sets=sets(shard, eval_shard)).to_dict()


def test_one_set_is_the_run_without_sets(configure: Configure, shard: Path) -> None:
    alone = train(configure("alone"), shard)
    as_set = train(configure("set", train_sets=[{"paths": str(shard), "weight": 0.2}]))
    assert curve(as_set.run_dir) == curve(alone.run_dir)


def test_a_mixed_run_continues_bit_for_bit_with_other_workers(
    configure: Configure, shard: Path, eval_shard: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"train_sets": sets(shard, eval_shard), "scheduler": "constant", "save_steps": 3}
    whole = train(configure("whole", **settings))
    config = configure("stopped", max_steps=3, **settings)
    train(config)
    config.max_steps, config.num_workers = 6, 2
    continued = train(config, resume="auto")
    assert curve(continued.run_dir) == curve(whole.run_dir)
    assert [step["tokens/bach"] for step in metrics(continued.run_dir)] == [
        step["tokens/bach"] for step in metrics(whole.run_dir)
    ]


def test_a_set_may_have_a_source_of_its_own(configure: Configure, shard: Path, eval_shard: Path) -> None:
    plan = prepare(configure(train_sets=sets(shard, eval_shard, source={"name": "gigamidi"})))
    assert plan.train_sets[1].pieces.shards == prepare(configure(), eval_shard).train_pieces.shards
    with pytest.raises(MidigptError, match="no source named 'folder'"):
        prepare(configure(train_sets=sets(shard, eval_shard, source="folder")))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{"weight": 2}], r"train_sets\[0\]\.paths: missing"),
        ([{"paths": "a", "wieght": 2}], r"train_sets\[0\]\.wieght: unknown option\. Did you mean 'weight'"),
        ([{"paths": "a", "weight": 0}], r"train_sets\[0\]\.weight: must be > 0"),
        ([{"paths": "a", "weight": "2"}], r"train_sets\[0\]\.weight: expected a number"),
        ({"paths": "a"}, r"train_sets: expected a list"),
    ],
)
def test_what_is_wrong_with_a_set_is_said_by_its_key(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(train_sets=value)


def test_sets_that_contradict_one_another_or_the_flags_are_refused(
    configure: Configure, shard: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="2 sets are called 'x'"):
        prepare(configure(train_sets=[{"paths": "a", "name": "x"}, {"paths": "b", "name": "x"}]))
    with pytest.raises(ConfigError, match="set1 has no paths"):
        prepare(configure(train_sets=[{"paths": []}]))
    with pytest.raises(ConfigError, match=r"train_sets \(keyword\) both name training data"):
        prepare(configure(train_sets=[{"paths": str(shard)}]), shard)
    with pytest.raises(ConfigError, match="nothing to train on"):
        prepare(configure())
    assert main(["train", "--set", "train_sets=[]"]) == 2
    assert "Missing option '--train-data'" in capsys.readouterr().err


def test_a_dry_run_says_the_share_of_each_set(
    tmp_path: Path, shard: Path, eval_shard: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    small = {"n_embd": 32, "n_layer": 1, "n_head": 2, "max_seq_len": 256, "encoder_config_path": "yellow"}
    config.write_text(json.dumps({**small, "train_sets": sets(shard, eval_shard)}), encoding="utf-8")
    assert main(["train", "--config", str(config), "--dry-run", "--output-dir", str(tmp_path / "run")]) == 0
    shown = dict(line.rsplit(None, 1) for line in capsys.readouterr().out.splitlines() if line.startswith("tokens of"))
    shares = {name.strip(): float(share.rstrip("%")) for name, share in shown.items()}
    assert set(shares) == {"tokens of set1", "tokens of bach"}
    assert sum(shares.values()) == pytest.approx(100, abs=0.2)
    assert shares["tokens of bach"] > 40
