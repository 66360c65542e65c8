"""Safetensors files that lie about themselves are refused at once, in little memory, before a tensor is made."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from midigpt_core.checkpoint import load_checkpoint, read_header, save_bundle
from midigpt_core.contracts import Bundle
from midigpt_core.errors import CheckpointError, MidigptError

if TYPE_CHECKING:
    from collections.abc import Callable

PLUGINS = Path(__file__).parents[1] / "data" / "plugins"

pytestmark = pytest.mark.usefixtures("tiny_registry")


@pytest.fixture
def sound(content: dict[str, Any], tmp_path: Path) -> bytes:
    bundle = Bundle(
        architecture="gpt2",
        architecture_config=content["config"],
        encoder="tiny",
        encoder_config=content["encoder_config"],
        state_dict=content["state_dict"],
    )
    return save_bundle(bundle, tmp_path / "sound.safetensors").read_bytes()


def parts(whole: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack_from("<Q", whole)
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def join(header: dict[str, Any] | bytes, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def refused(path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """The message; checks that no tensor is made, that it takes less than 100 ms and less than 32 MiB."""
    path.write_bytes(content)
    with pytest.raises(CheckpointError):  # components are built once before time is taken
        read_header(path)
    monkeypatch.setattr(torch, "empty", lambda *_a, **_k: pytest.fail("a tensor was made"))
    elapsed = []
    for _ in range(3):
        started = time.process_time()
        with pytest.raises(CheckpointError, match=str(path)) as caught:
            load_checkpoint(path)
        elapsed.append(time.process_time() - started)
    assert min(elapsed) < 0.1
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            load_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    monkeypatch.undo()
    return str(caught.value)


def many_tensors(count: int) -> bytes:
    """A sound bundle's metadata and ``count`` tensors without a number in them."""
    metadata = b'{"__metadata__":{"format_version":"2","config":"{}","encoder_config":"{}"}'
    entry = b',"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return join(metadata + b"".join(entry % number for number in range(count)) + b"}", b"")


HEAD = "lm_head.weight"
EDITS: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "offsets beyond the end": ("hole or overlaps", lambda h: h[HEAD].update(data_offsets=[10**9, 10**9 + 3104])),
    "overlap": ("hole or overlaps", lambda h: h[HEAD].update(data_offsets=[4, 3108])),
    "same place twice": ("overlaps", lambda h: h.update(copy=h[HEAD])),
    "hole": ("hole", lambda h: h.pop("transformer.ln_f.bias")),
    "backwards": ("takes -3104 bytes", lambda h: h[HEAD].update(data_offsets=h[HEAD]["data_offsets"][::-1])),
    "negative": ("no proper", lambda h: h[HEAD].update(data_offsets=[-8, 3096])),
    "shape too large": ("takes 3104 bytes", lambda h: h[HEAD].update(shape=[97, 9])),
    "shape of a petabyte": ("takes 3104 bytes", lambda h: h[HEAD].update(shape=[1 << 40, 1 << 40])),
    "shape overflows to fit": ("no proper", lambda h: h[HEAD].update(shape=[1 << 62, 1 << 62])),
    "many dimensions": ("no proper", lambda h: h[HEAD].update(shape=[1] * 100)),
    "fractional": ("no proper", lambda h: h[HEAD].update(shape=[97.0, 8])),
    "true": ("no proper", lambda h: h[HEAD].update(shape=[True, 776])),
    "unknown dtype": ("no proper", lambda h: h[HEAD].update(dtype="F4")),
    "extra field": ("no proper", lambda h: h[HEAD].update(more=1)),
    "no shape": ("no proper", lambda h: h[HEAD].pop("shape")),
    "entry is a list": ("no proper", lambda h: h.update({HEAD: []})),
    "metadata of numbers": ("text to text", lambda h: h["__metadata__"].update(config=3)),
    "metadata is a list": ("text to text", lambda h: h.update(__metadata__=[])),
    "no metadata": ("format_version is null", lambda h: h.pop("__metadata__")),
    "other version": ("format_version is '3'", lambda h: h["__metadata__"].update(format_version="3")),
    "encoder null": ("no encoder_config", lambda h: h["__metadata__"].update(encoder_config="null")),
    "deep JSON": ("not valid JSON", lambda h: h["__metadata__"].update(config="[" * 100_000)),
    "deep but valid": (
        "too many values",
        lambda h: h["__metadata__"].update(config='{"a":' * 500 + "1" + "}" * 500),
    ),
    "key twice in config": ("twice", lambda h: h["__metadata__"].update(config='{"n_embd": 8, "n_embd": 8}')),
    "long number": ("not valid JSON", lambda h: h["__metadata__"].update(config='{"n_embd": ' + "9" * 5000 + "}")),
    "shape swapped": ("has shape", lambda h: h[HEAD].update(shape=[8, 97])),
    "config of a giant": (
        "has shape",
        lambda h: h["__metadata__"].update(config='{"vocab_size": 97, "n_positions": 8, "n_embd": 16777216}'),
    ),
    "a billion layers": ("n_layer is", lambda h: h["__metadata__"].update(config='{"n_layer": 1000000000}')),
}


@pytest.mark.parametrize(("message", "edit"), EDITS.values(), ids=EDITS)
def test_a_header_that_lies_is_refused(
    message: str,
    edit: Callable[[dict[str, Any]], object],
    sound: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    header, body = parts(sound)
    edit(header)
    assert message in refused(tmp_path / "m.safetensors", join(header, body), monkeypatch)


KINDS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "endless header": ("header claims 18446744073709551615 bytes", lambda: b"\xff" * 8 + b"{}"),
    "90 MB of nothing": ("header claims 94371840 bytes", lambda: struct.pack("<Q", 90 << 20) + b" " * (90 << 20)),
    "90 MB of metadata": (
        "header claims 94371878 bytes",
        lambda: join(b'{"__metadata__":{"format_version":"' + b"2" * (90 << 20) + b'"}}', b""),
    ),
    "header cut short": ("cut short", lambda: struct.pack("<Q", 1000) + b"{}"),
    "deep lists": ("not valid JSON", lambda: join(b"[" * 900_000, b"")),
    "no text": ("not valid JSON", lambda: join(b"\xff\xfe{}", b"")),
    "a list": ("not a mapping", lambda: join(b"[]", b"")),
    "a key twice": ("twice", lambda: join(b'{"a": 1, "a": 2}', b"")),
    "a million tensors": ("header claims", lambda: many_tensors(1_000_000)),
    "as many tensors as a header holds": ("tensors, the limit is 4096", lambda: many_tensors(15_000)),
    "no tensor of a GPT-2": ("is missing", lambda: many_tensors(3_000)),
}


@pytest.mark.parametrize(("message", "content"), KINDS.values(), ids=KINDS)
def test_a_header_of_another_kind_is_refused(
    message: str, content: Callable[[], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert message in refused(tmp_path / "m.safetensors", content(), monkeypatch)


def test_three_thousand_tensors_more_are_refused(sound: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header, body = parts(sound)
    some = {str(number): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(3_000)}
    content = join(json.dumps(some | header, separators=(",", ":")).encode(), body)
    assert "a tensor '0' that no GPT-2 has" in refused(tmp_path / "m.safetensors", content, monkeypatch)


#: Loads every bomb, and prints the least CPU time of three tries and the most memory above what was resident before.
MEASURE = """
import json, sys, time
from pathlib import Path
from midigpt_core.checkpoint import load_checkpoint
from midigpt_core.errors import CheckpointError
from midigpt_core.plugins import Selection, load_registry, use_registry

def resident(field):
    status = Path("/proc/self/status").read_text()
    return int(status.partition(field)[2].split()[0]) * 1024

def seconds(path):
    started = time.process_time()
    try:
        load_checkpoint(path)
    except CheckpointError:
        return time.process_time() - started
    raise AssertionError(f"{path} was loaded")

use_registry(load_registry(Selection(plugin_dirs=(sys.argv[1],))))
folder = Path(sys.argv[2])
load_checkpoint(folder / "sound.safetensors")
for bomb in sorted(folder.glob("bomb *")):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here (proc(5))
    before = resident("VmRSS:")
    least = min(seconds(bomb) for _ in range(3))
    print(json.dumps([bomb.name, least, resident("VmHWM:") - before]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")
def test_every_bomb_stays_within_100_ms_and_32_mb_of_the_process(sound: bytes, tmp_path: Path) -> None:
    for name, (_, edit) in EDITS.items():
        header, body = parts(sound)
        edit(header)
        (tmp_path / f"bomb {name}.safetensors").write_bytes(join(header, body))
    for name, (_, content) in KINDS.items():
        (tmp_path / f"bomb {name}.safetensors").write_bytes(content())
    command = [sys.executable, "-c", MEASURE, str(PLUGINS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(measured) == len(EDITS) + len(KINDS)
    for name, elapsed, memory in measured:
        assert elapsed < 0.1, name
        assert memory < 32 << 20, name


def test_flipped_bytes_of_the_header_give_an_error_or_the_same_tensors(sound: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(sound)
    expected = load_checkpoint(path).state_dict
    (length,) = struct.unpack_from("<Q", sound)
    chance = random.Random(7)
    for _ in range(300):
        damaged = bytearray(sound)
        damaged[chance.randrange(8 + length)] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            state = load_checkpoint(path).state_dict
        except MidigptError:
            continue
        assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
            name: tuple(tensor.shape) for name, tensor in expected.items()
        }
