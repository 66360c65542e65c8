"""Bundles of every format with flipped bits, cut, and spliced with others: read or refused in one line, in bounds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from midigpt_encoder.config import EncoderConfig
from torch import Tensor, nn

from midigpt_core.checkpoint import save_bundle
from midigpt_core.contracts import Bundle
from support.tiny_gpt2 import tiny_gpt2

PLUGINS = Path(__file__).parents[1] / "data" / "plugins"

#: Damages files and reads them, within 512 MiB of address space more than a sound one took; prints what happened.
READ_DAMAGED = """
import json, random, resource, sys, time
from pathlib import Path
from midigpt_core.checkpoint import inspect, load_checkpoint, read_header
from midigpt_core.errors import MidigptError
from midigpt_core.plugins import Selection, load_registry, use_registry

plugins, count = sys.argv[1], int(sys.argv[5])
bundle, part, donor = map(Path, sys.argv[2:5])
use_registry(load_registry(Selection(plugin_dirs=(plugins,))))
load_checkpoint(bundle)
size = int(Path("/proc/self/status").read_text().partition("VmSize:")[2].split()[0]) << 10
resource.setrlimit(resource.RLIMIT_AS, (size + (512 << 20), size + (512 << 20)))
sound, other = part.read_bytes(), donor.read_bytes()
chance = random.Random(20)

def damaged():
    content = bytearray(sound)
    # Most of a file is numbers, whose damage no reader can see: prefer both ends, where descriptions are.
    place = lambda: min(int(chance.expovariate(1 / 3000)), len(sound) - 1) * chance.choice((1, -1))
    kind = chance.randrange(4)
    if kind == 0:
        for _ in range(chance.choice((1, 1, 4, 30))):
            content[place()] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del content[place() % len(content):]
    elif kind == 2:
        at, start, length = place() % len(content), chance.randrange(len(other)), chance.choice((1, 4, 8, 100, 4000))
        content[at : at + length * chance.randrange(2)] = other[start : start + length]
    else:
        at, length = place() % len(content), chance.choice((1, 2, 4, 8))
        content[at : at + length] = chance.choice((b"\\xff", b"\\x00", b"\\x7f", b"9", b"[", b"(", b"]")) * length
    return bytes(content)

told = {"read": 0, "refused": 0, "slowest": 0.0, "faults": []}
for number in range(count):
    content = damaged()
    part.write_bytes(content)
    for read in (read_header, inspect, load_checkpoint):
        started = time.process_time()
        try:
            read(bundle)
            told["read"] += 1
        except MidigptError as error:
            told["refused"] += 1
            if "\\n" in str(error) or len(str(error)) > 2000:
                told["faults"].append(f"{number} {read.__name__}: {str(error)[:200]!r}")
        except BaseException as error:
            told["faults"].append(f"{number} {read.__name__}: {type(error).__name__}: {str(error)[:200]}")
        told["slowest"] = max(told["slowest"], time.process_time() - started)
print(json.dumps(told))
"""


@pytest.fixture
def bundles(tmp_path: Path, tiny_registry: object) -> dict[str, tuple[Path, Path]]:
    """Of each format a bundle, and the file of it that is damaged."""
    model = tiny_gpt2(max_seq_len=8, n_embd=8, n_layer=1, n_head=2)
    bundle = Bundle(
        architecture="gpt2",
        architecture_config=model.architecture_config(),
        encoder="tiny",
        encoder_config={"size": 97},
        provenance={"sources": ["a"], "stream": {"num_bars_choices": [4, 8]}},
        state_dict=model.state_dict(),
    )
    pt, safetensors = save_bundle(bundle, tmp_path / "m.pt"), save_bundle(bundle, tmp_path / "m.safetensors")
    folder = save_bundle(bundle, tmp_path / "folder")
    legacy = write_legacy(tmp_path / "legacy")
    return {
        "pt": (pt, pt),
        "safetensors": (safetensors, safetensors),
        "folder": (folder, folder / "config.json"),
        "weights": (folder, folder / "model.safetensors"),
        "legacy": (legacy, legacy / "model.pt"),
        "legacy configuration": (legacy, legacy / "config.json"),
    }


def write_legacy(folder: Path) -> Path:
    """A legacy directory: a TorchScript module with the tensors of a GPT-2."""
    config = EncoderConfig.from_preset("yellow").to_dict()
    module = with_tensors(tiny_gpt2(647, 8, n_embd=8, n_layer=1, n_head=2).state_dict())
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**config, "n_head": 2}))
    torch.jit.script(module).save(str(folder / "model.pt"))
    return folder


def with_tensors(state: dict[str, Tensor]) -> nn.Module:
    """A module that holds these tensors under these names and computes nothing."""
    root = nn.Module()
    for name, tensor in state.items():
        module = root
        *path, last = name.split(".")
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.register_parameter(last, nn.Parameter(tensor))
    return root


def read_damaged(bundle: Path, part: Path, donor: Path, count: int) -> dict[str, Any]:
    command = [sys.executable, "-c", READ_DAMAGED, PLUGINS, bundle, part, donor, count]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=3600)
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.unsanitized
@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.skipif(sys.platform != "linux", reason="the size of a process is read from /proc")
@pytest.mark.parametrize("count", [40, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["pt", "safetensors", "folder", "weights", "legacy", "legacy configuration"])
def test_a_damaged_bundle_is_read_or_refused(
    name: str, count: int, bundles: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    donor = tmp_path / "donor"
    donor.write_bytes(bundles["safetensors" if name in ("pt", "legacy") else "pt"][1].read_bytes())
    told = read_damaged(*bundles[name], donor, count)
    assert told["faults"] == []
    assert told["read"] + told["refused"] == 3 * count
    assert told["refused"] > count
    assert told["slowest"] < 2
