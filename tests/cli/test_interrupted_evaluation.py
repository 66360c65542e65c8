"""Ctrl-C during ``midigpt evaluate``, in a process of its own from the start: torch has threads by then, which a fork
would not bring along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from midigpt_encoder.factory import EncoderOptions
from midigpt_encoder.factory import build as build_encoder

from midigpt_core.checkpoint import save_bundle
from midigpt_core.contracts import Bundle, EncoderContext
from support.tiny_gpt2 import tiny_gpt2

if TYPE_CHECKING:
    from collections.abc import Iterator

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
#: Evaluates without end in sight. From its third batch on there is the file ``mark``; a batch takes SECONDS longer, in
#: native code, where Python hears no signal.
SCRIPT = """
import hashlib, pathlib, sys
from midigpt_core.cli.main import main
from midigpt_core.training import evaluate

def first_rows(*arguments, **more):
    for number, batch in enumerate(original(*arguments, **more)):
        if number == 2:
            pathlib.Path("mark").touch()
            hashlib.pbkdf2_hmac("sha256", b"", b"", max(1, int({seconds} * 4e6)))
        yield batch

original, evaluate.first_rows = evaluate.first_rows, first_rows
sys.exit(main([
    "evaluate", "--checkpoint", "model.pt", "--data", "shard.parquet", "--device", "cpu", "--rows", "1000000"
]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard, and the bundle of a small model with random weights."""
    folder = tmp_path_factory.mktemp("evaluation")
    files = [file.read_bytes() for file in sorted(MIDI.glob("*.mid"))[:4]]
    pq.write_table(pa.table({"music": pa.array(files, pa.binary())}), folder / "shard.parquet")
    encoder = build_encoder(EncoderOptions(config="yellow"), EncoderContext())
    model = tiny_gpt2(encoder.vocab_size, 128, n_layer=1, n_head=1)
    bundle = Bundle(
        architecture="gpt2",
        architecture_config=model.architecture_config(),
        encoder="midigpt",
        encoder_config=encoder.to_config(),
        provenance={},
        state_dict=model.state_dict(),
    )
    save_bundle(bundle, folder / "model.pt")
    return folder


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "MIDIGPT_CACHE": str(folder / "cache"), "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def evaluating(folder: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """The command, in its third batch."""
    mark = folder / "mark"
    mark.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(seconds=request.param)],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not mark.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    assert mark.exists(), "the command did not come to its third batch"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("evaluating", [0], indirect=True)
def test_ctrl_c_ends_an_evaluation(evaluating: subprocess.Popen[str]) -> None:
    assert evaluating.stderr is not None
    begun = time.monotonic()
    os.killpg(evaluating.pid, signal.SIGINT)
    said = ""
    while not said.endswith("Interrupted.\n"):
        line = evaluating.stderr.readline()
        assert line, said
        said += line
    assert time.monotonic() - begun < 5
    # To unload torch takes seconds where others need the processor.
    out, more = evaluating.communicate(timeout=60)
    assert evaluating.returncode == 128 + signal.SIGINT
    assert out == "", "half an evaluation has no figures"
    assert more == ""
    assert "Traceback" not in said


@pytest.mark.parametrize("evaluating", [60], indirect=True)
def test_the_second_ctrl_c_ends_an_evaluation_at_once(evaluating: subprocess.Popen[str]) -> None:
    assert evaluating.stderr is not None
    os.killpg(evaluating.pid, signal.SIGINT)
    assert evaluating.stderr.readline() == "Stopping. Press Ctrl-C again to stop now.\n"
    assert evaluating.poll() is None, "the first waits for what is under way"
    second = time.monotonic()
    os.killpg(evaluating.pid, signal.SIGINT)
    evaluating.communicate(timeout=60)
    assert time.monotonic() - second < 1
    assert evaluating.returncode == -signal.SIGINT
