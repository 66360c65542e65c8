"""Every integer that a command takes, far outside its range: one line that names it, soon, and no traceback."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from midigpt_core.checkpoint import load_checkpoint, save_bundle
from midigpt_core.cli.main import main
from midigpt_core.cli.root import root
from midigpt_core.cli.train import flag_of
from midigpt_core.config.train import TrainConfig
from midigpt_core.errors import ConfigError
from midigpt_core.training.evaluate import evaluate

if TYPE_CHECKING:
    from collections.abc import Iterator

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
CONFIG = {
    "encoder_config_path": "yellow",
    "n_embd": 16,
    "n_layer": 1,
    "n_head": 1,
    "n_positions": 128,
    "max_seq_len": 128,
    "num_bars_choices": [4],
    "batch_size": 2,
    "max_steps": 1,
    "warmup_steps": 0,
    "eval_rows": 2,
    "precision": "fp32",
}
VALUES = (0, -1, 10**12, 10**30)
#: Fields of the configuration that hold one integer.
SETTINGS = [field.name for field in attrs.fields(TrainConfig) if field.init and field.type in (int, int | None)]


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*path, name))
    else:
        yield path, command


OPTIONS = [
    (*path, parameter.opts[0])
    for path, command in commands(root)
    for parameter in command.params
    if isinstance(parameter.type, click.types.IntParamType)
]
OPTIONS += [("train", flag_of(name)) for name in SETTINGS]


@contextmanager
def within(seconds: int) -> Iterator[None]:
    def too_long(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A shard, a configuration, and the bundle of a run of one step in ``run``."""
    folder = tmp_path_factory.mktemp("integers")
    files = [file.read_bytes() for file in sorted(MIDI.glob("*.mid"))[:4]]
    pq.write_table(pa.table({"music": pa.array(files, pa.binary())}), folder / "shard.parquet")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIDIGPT_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        assert main(["train", "--config", "config.json", "--train-data", "shard.parquet", "--output-dir", "run"]) == 0
        yield folder
    torch.set_num_threads(threads)


def base(*command: str) -> list[str]:
    """Arguments with which the command works in the folder, and soon."""
    bundle = ["--checkpoint", "run/model_final.pt", "--device", "cpu"]
    song = str(MIDI / "mutopia_bach_invention_08.mid")
    of_command = {
        "evaluate": [*bundle, "--data", "shard.parquet"],
        "preprocess": ["--data", "shard.parquet", "--encoder-config", "yellow"],
        "generate": [*bundle, "--input", song, "-o", "music", "--overwrite", "--set", "plan_only=true"],
        # It ends by itself: the file that it is told to read is not there.
        "serve": ["--checkpoint", "absent.pt"],
        "train": ["--config", "config.json", "--train-data", "shard.parquet", "--output-dir", "dry", "--dry-run"],
    }
    return [*command, *of_command[" ".join(command)]]


@pytest.mark.parametrize("option", OPTIONS, ids=" ".join)
def test_an_integer_out_of_range_is_one_line(
    option: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *command, flag = option
    more = [] if flag == "--continue" or "generate" not in command else ["--track", "0", "--bars", "1"]
    refused = 0
    for value in VALUES:
        with within(20):
            code = main([*base(*command), *more, flag, str(value)])
        lines = capsys.readouterr().err.splitlines()
        assert code in (0, 2), (value, lines)
        # `serve` would answer for ever: a value that it takes ends at the file that is not there.
        if code == 2 and "absent.pt" not in lines[-1]:
            refused += 1
            named = {"--candidates": "num_candidates"}.get(flag, flag.removeprefix("--").replace("-", "_"))
            assert lines[-1].startswith("Error: ")
            assert flag in lines[-1] or named in lines[-1], (value, lines)
    assert refused >= 1, "no option takes 10 ** 30"


def test_every_command_with_an_integer_is_tried() -> None:
    assert {flag for *_, flag in OPTIONS} >= {"--rows", "--batch-size", "--continue", "--seed", "--min-tracks"}
    assert {command for command, *_ in OPTIONS} == {"evaluate", "generate", "preprocess", "serve", "train"}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_out_of_range_is_named(name: str) -> None:
    for value in (-(10**30), -1, 10**30):
        with pytest.raises(ConfigError, match=f"{name}: (must be|expected)"):
            TrainConfig(**{name: value})


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("evaluation.rows", 10**12),
        ("evaluation.batch_size", 10**12),
        ("stream.min_tracks", 10**12),
        ("stream.num_bars_choices", [10**15]),
        ("stream.seed", -1),
        ("stream.transpose_range", [-(10**6), 0]),
    ],
)
def test_a_bundle_whose_numbers_are_out_of_range(
    place: str, value: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, name = place.split(".")
    bundle = load_checkpoint(folder / "run" / "model_final.pt")
    provenance = {**bundle.provenance, part: {**bundle.provenance[part], name: value}}
    if name == "min_tracks":
        provenance[part]["max_tracks"] = value
    save_bundle(attrs.evolve(bundle, provenance=provenance), tmp_path / "altered.pt", "pt")
    with within(20):
        code = main(["evaluate", "--checkpoint", str(tmp_path / "altered.pt"), "--data", str(folder / "shard.parquet")])
    lines = capsys.readouterr().err.splitlines()
    assert (code, len(lines)) == (2, 1)
    assert f"altered.pt: {part}" in lines[0]
    assert name in lines[0]


@pytest.mark.parametrize("given", [{"rows": 0}, {"rows": 10**7}, {"batch_size": -1}, {"precision": "fp8"}])
def test_evaluate_of_python_has_the_same_ranges(given: dict[str, Any], folder: Path) -> None:
    with pytest.raises(ConfigError, match=rf"evaluate\.{next(iter(given))}"):
        evaluate(folder / "run" / "model_final.pt", folder / "shard.parquet", **given)
