"""Processor time and memory of an adapter in an engine: made, used, and switched to.

python -m bench.adapters             # one thread, 512 wide, 12 layers; the table is in docs/adapters.md
"""

from __future__ import annotations

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from midigpt_encoder.factory import EncoderOptions
from midigpt_encoder.factory import build as build_encoder
from midigpt_gpt2.factory import build as build_gpt2
from midigpt_gpt2.options import Gpt2Options

from bench.memory import held_bytes
from midigpt_core.checkpoint import save_bundle
from midigpt_core.checkpoint.adapters import StoredAdapter, base_record, save_adapter, weights_hash
from midigpt_core.contracts import ArchitectureContext, Bundle, EncoderContext
from midigpt_core.inference import InferenceEngine

if TYPE_CHECKING:
    from collections.abc import Callable

_WIDTH, _LAYERS, _HEADS = 512, 12, 8
_RANK = 8
_LAYER_NAMES = ("c_attn", "c_proj", "c_fc")
_SWITCHES = 20


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = _base(folder / "base.pt")
        files = [_adapter(base, folder / f"{seed}.safetensors", seed) for seed in range(3)]
        print("| | ms | MiB |\n|---|---|---|", flush=True)
        engine = InferenceEngine.from_checkpoint(folder / "base.pt", "cpu")
        _row("the base's reader", engine.reader)
        # The first adapter also hashes the base.
        for number, file in enumerate(files):
            _row(f"adapter {number + 1}: made", partial(engine.adapted, file))
            _row(f"adapter {number + 1}: its reader", partial(_reader, engine, file))
        taken = []
        for turn in range(_SWITCHES):
            started = time.process_time()
            engine.adapted(files[turn % len(files)]).reader()
            taken.append(1000 * (time.process_time() - started))
        print(f"| switched to by its file ({_SWITCHES} times, median) | {statistics.median(taken):.1f} | |")
        print(f"| file of an adapter | | {files[0].stat().st_size / 2**20:.1f} |")
        print(f"| file of the base | | {(folder / 'base.pt').stat().st_size / 2**20:.1f} |")


def _reader(engine: InferenceEngine, file: Path) -> object:
    return engine.adapted(file).reader()


def _row(what: str, do: Callable[[], object]) -> None:
    before, started = held_bytes(), time.process_time()
    do()
    taken = time.process_time() - started
    print(f"| {what} | {1000 * taken:.0f} | {(held_bytes() - before) / 2**20:.0f} |", flush=True)


def _base(path: Path) -> Bundle:
    """A bundle of random weights."""
    encoder = build_encoder(EncoderOptions(config="yellow"), EncoderContext())
    model = build_gpt2(
        Gpt2Options(n_embd=_WIDTH, n_layer=_LAYERS, n_head=_HEADS),
        ArchitectureContext(vocab_size=encoder.vocab_size, max_seq_len=2048),
    )
    bundle = Bundle(
        architecture="gpt2",
        architecture_config=model.architecture_config(),
        encoder="midigpt",
        encoder_config=encoder.to_config(),
        provenance={},
        state_dict=model.state_dict(),
    )
    save_bundle(bundle, path)
    return bundle


def _adapter(base: Bundle, path: Path, seed: int) -> Path:
    """A LoRA of random weights in all linear layers of the blocks."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, weight in base.state_dict.items():
        if weight.dim() == 2 and name.split(".")[-2] in _LAYER_NAMES:
            tensors[f"{name}.lora_left"] = torch.randn(weight.size(0), _RANK, generator=generator) * 0.1
            tensors[f"{name}.lora_right"] = torch.randn(_RANK, weight.size(1), generator=generator)
    stored = StoredAdapter(
        adapter="lora",
        options={"rank": _RANK, "alpha": 2.0 * _RANK, "targets": list(_LAYER_NAMES), "dropout": 0.0},
        base=base_record(base, weights_hash(base.state_dict), "base.pt"),
        provenance={},
        tensors=tensors,
    )
    return save_adapter(stored, path)


if __name__ == "__main__":
    main()
