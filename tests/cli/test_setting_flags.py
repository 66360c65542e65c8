"""Every setting is an option of ``midigpt train``, in two spellings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from midigpt_core.cli.main import main
from midigpt_core.cli.root import root
from midigpt_core.cli.train import configure, flag_of
from midigpt_core.cli.train import train as command
from midigpt_core.config.train import TrainConfig, setting_groups, setting_names
from midigpt_core.plugins import current_registry

if TYPE_CHECKING:
    from pathlib import Path

#: Values that differ from the defaults, of settings whose default cannot simply be given again.
OTHER = {
    "encoder": "midigpt",
    "mask": "mixed",
    "muon_learning_rate": "0.02",
    "workers": "2",
    "sample_steps": "5",
    "sample_audio": "ogg",
}


def spelled(name: str) -> str:
    value = getattr(TrainConfig(), name)
    return OTHER.get(name) or (value if isinstance(value, str) else json.dumps(value)) or "x"


@pytest.mark.parametrize(
    "spelling",
    [flag_of, "--{}".format, lambda name: f"--{name.replace('_', '-')}"],
    ids=["help", "underscores", "hyphens"],
)
def test_each_setting_has_a_flag(spelling: object) -> None:
    assert callable(spelling)
    arguments = [part for name in setting_names() for part in (spelling(name), spelled(name))]
    parsed = command.make_context("train", ["songs", *arguments]).params
    flags = {name: parsed[name] for name in setting_names()}
    assert flags == {name: spelled(name) for name in setting_names()}
    config = configure(None, (), flags, current_registry())
    assert {name: config.origins[name] for name in setting_names()} == {name: flag_of(name) for name in setting_names()}
    assert (config.learning_rate, config.num_bars_choices, config.packing) == (1e-4, [4, 8], True)


def test_help_lists_each_setting_once_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    options, *groups = capsys.readouterr().out.split("\nSettings: ")
    assert [group.partition(":")[0] for group in groups] == list(setting_groups())
    for text, names in zip(groups, setting_groups().values(), strict=True):
        for name in names:
            assert text.count(f" {flag_of(name)} VALUE") == 1, name
    assert "--minutes" in options
    assert sum(map(len, setting_groups().values())) == len(setting_names())


def test_all_problems_are_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ["--learning_rate", "fast", "--n-layer", "0", "--set", "weight_decay=-1", "--set", "sed=3"]
    assert main(["train", str(tmp_path), *wrong]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    for part in ("learning_rate", "n_layer", "weight_decay", "sed"):
        assert part in error
    assert main(["train", str(tmp_path), "--seed", "1", "--set", "seed=2"]) == 2
    assert "--seed 1 and --set seed=2 set the same thing" in capsys.readouterr().err


def completed(words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setenv("_MIDIGPT_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    with pytest.raises(SystemExit) as ended:
        root.main(prog_name="midigpt")
    assert ended.value.code == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("midigpt train --learn", ["plain,--learning-rate"]),
        ("midigpt train --architecture ", ["plain,gpt2", "plain,llama"]),
        ("midigpt train --encoder-config g", ["plain,ghost"]),
        ("midigpt train --encoder-config ./g", ["file,./g"]),
        ("midigpt train --set weight", ["plain,weight_decay="]),
    ],
)
def test_the_shell_completes_names(
    words: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert completed(words, monkeypatch, capsys) == expected
