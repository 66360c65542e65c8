"""What a GPU does with our models: correctness against the CPU, MFU, Muon, data workers, generation. Begun by gpu.sh.

Each part runs in a process of its own, within a time of its own: one that fails, hangs or crashes costs no other's
figures. This process never starts CUDA.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import math
import os
import signal
import statistics
import sys
import tempfile
import time
import traceback
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from attrs import asdict, frozen
from midigpt_transformers import documents

from bench.generation import request_for
from midigpt_core.config import TrainConfig
from midigpt_core.contracts import ArchitectureContext, Bundle, EncoderContext
from midigpt_core.inference import InferenceEngine
from midigpt_core.plugins import build, current_registry
from midigpt_core.testing import music
from midigpt_core.training.loop.losses import token_losses
from midigpt_core.training.loop.optimization import build_optimizer, optimization
from midigpt_core.training.run import train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

    from torch import Tensor, nn

    Part = Callable[["Sizes", torch.device], Iterator["Figure"]]

#: Seconds for all parts: with the build less than eight minutes.
_SECONDS = 420
_MIDI = Path(__file__).resolve().parents[1] / "tests" / "data" / "midi"
_VOCABULARY = 647


@frozen(kw_only=True)
class Sizes:
    """How large everything is."""

    width: int
    layers: int
    heads: int
    #: Tokens of a row, and rows of a step.
    length: int
    rows: int
    #: Optimiser steps of a training run; the first half warms up.
    steps: int
    #: Of the model whose results are compared, and of the model that generates.
    small: dict[str, int]
    generating: dict[str, int]
    bars: int
    candidates: int


REAL = Sizes(
    width=768,
    layers=12,
    heads=12,
    length=2048,
    rows=16,
    steps=40,
    small={"n_embd": 256, "n_layer": 4, "n_head": 4},
    generating={"n_embd": 512, "n_layer": 6, "n_head": 8},
    bars=8,
    candidates=16,
)
TINY = Sizes(
    width=32,
    layers=1,
    heads=2,
    length=256,
    rows=2,
    steps=4,
    small={"n_embd": 32, "n_layer": 1, "n_head": 2},
    generating={"n_embd": 32, "n_layer": 1, "n_head": 2},
    bars=4,
    candidates=2,
)


@frozen(kw_only=True)
class Figure:
    """One line of the table."""

    name: str
    value: float | None
    unit: str
    #: The most that is right; None: nothing is asked of it.
    limit: float | None = None

    @property
    def is_right(self) -> bool:
        return self.limit is None or (self.value is not None and self.value <= self.limit)


# --- correctness -----------------------------------------------------------------------------------------------------


def correctness(sizes: Sizes, device: torch.device) -> Iterator[Figure]:
    """Packed documents in blocks, under a mask and in bfloat16, and fused steps, against float32 on the CPU."""
    for architecture in ("gpt2", "llama"):
        yield from _attention(architecture, sizes, device)
    for name, limit in (("adamw", 1e-4), ("muon", 0.1)):
        # Muon's products are bfloat16 on a GPU.
        yield Figure(
            name=f"two steps of {name}: error of the change",
            value=_error(
                [_change(name, sizes, device, fused=True)], [_change(name, sizes, torch.device("cpu"), fused=False)]
            ),
            unit="relative",
            limit=limit,
        )


def _attention(architecture: str, sizes: Sizes, device: torch.device) -> Iterator[Figure]:
    on_cpu = _model(sizes.small, sizes.length, architecture)
    on_device = copy.deepcopy(on_cpu).to(device)
    tokens, document_ids = _packed(sizes)
    logits, gradients = _passes(on_cpu, tokens, document_ids)
    # A CPU has attention in blocks for the forward pass alone.
    ways = {"blocks": device.type == "cuda", "mask": True}
    for way, has_gradients in ways.items():
        with patch.object(documents, "way", lambda _, way=way: way):
            found = _passes(on_device, tokens, document_ids, backward=has_gradients)
        yield Figure(
            name=f"{architecture}, {way}: error of the logits",
            value=_error(found[:1], [logits]),
            unit="relative",
            limit=1e-4,
        )
        if has_gradients:
            error = _error(found[1], gradients)
            yield Figure(
                name=f"{architecture}, {way}: error of the gradients", value=error, unit="relative", limit=1e-3
            )
    with torch.autocast(device.type, torch.bfloat16):
        in_bf16, _ = _passes(on_device, tokens, document_ids, backward=False)
    yield Figure(
        name=f"{architecture}, bf16: error of the logits",
        value=_error([in_bf16], [logits]),
        unit="relative",
        limit=0.05,
    )


def _passes(model: Any, tokens: Tensor, document_ids: Tensor, *, backward: bool = True) -> tuple[Tensor, list[Tensor]]:
    """Logits and gradients of the tokens of documents, on the CPU."""
    device = next(model.parameters()).device
    there = document_ids >= 0
    with torch.set_grad_enabled(backward):
        logits = model(tokens.to(device), document_ids=document_ids.to(device))[there.to(device)]
        if not backward:
            return logits.float().cpu(), []
        loss = torch.nn.functional.cross_entropy(logits, tokens[there].to(device))
        gradients = torch.autograd.grad(loss, list(model.parameters()))
    return logits.detach().float().cpu(), [gradient.float().cpu() for gradient in gradients]


def _packed(sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Two rows of documents: some long, some of a few tokens, some padding."""
    length = sizes.length
    ids = torch.full((2, length), -1, dtype=torch.int32)
    for row, shares in enumerate(((0.3, 0.02, 0.5, 0.1), (0.9,))):
        begin = 0
        for number, share in enumerate(shares):
            end = begin + int(share * length)
            ids[row, begin:end] = number
            begin = end
    generator = torch.Generator().manual_seed(1)
    return torch.randint(_VOCABULARY, (2, length), generator=generator), ids


def _change(name: str, sizes: Sizes, device: torch.device, *, fused: bool) -> Tensor:
    """How two steps with fixed gradients change the weights of the small model, in one vector."""
    model = _model(sizes.small, sizes.length, "gpt2").to(device)
    before = _flat(model)
    optimizer = _optimizer(model, name, fused=fused)
    for step in range(2):
        for index, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(100 * step + index)
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(device)
        optimizer.step()
    return _flat(model) - before


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten().cpu() for parameter in model.parameters()])


def _error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The norm of all differences, relative to that of what is expected."""
    wrong = sum(float((one - other).double().square().sum()) for one, other in zip(found, expected, strict=True))
    return math.sqrt(wrong / sum(float(other.double().square().sum()) for other in expected))


# --- training --------------------------------------------------------------------------------------------------------


def eager(sizes: Sizes, device: torch.device) -> Iterator[Figure]:
    """Training in bf16, not compiled."""
    yield from _speed("eager", _trained(sizes, compile=False, num_workers=2))


def compiled(sizes: Sizes, device: torch.device) -> Iterator[Figure]:
    """Training in bf16, compiled (a CPU does not compile)."""
    yield from _speed("compiled", _trained(sizes, compile=True, num_workers=2))


def stall(sizes: Sizes, device: torch.device) -> Iterator[Figure]:
    """What a step waits for its rows."""
    for workers in (2, 0):
        steps = _trained(sizes, compile=False, num_workers=workers)
        waited = sum(step["data_wait"] for step in steps) / sum(step["seconds"] for step in steps)
        yield Figure(name=f"waiting for data, {workers} data workers", value=100 * waited, unit="% of a step")


def _speed(how: str, steps: list[dict[str, Any]]) -> Iterator[Figure]:
    utilisation = [step["mfu"] for step in steps if "mfu" in step]
    mfu = 100 * statistics.median(utilisation) if utilisation else None
    yield Figure(name=f"{how}: MFU", value=mfu, unit="%")
    yield Figure(name=f"{how}: step", value=1000 * statistics.median(step["seconds"] for step in steps), unit="ms")
    yield Figure(
        name=f"{how}: tokens", value=statistics.median(step["tokens_per_second"] for step in steps), unit="tokens/s"
    )


def _trained(sizes: Sizes, **changes: Any) -> list[dict[str, Any]]:
    """The second half of the steps of a run with the whole pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            output_dir=folder,
            source="midifiles",
            n_embd=sizes.width,
            n_layer=sizes.layers,
            n_head=sizes.heads,
            n_positions=sizes.length,
            max_seq_len=sizes.length,
            batch_size=sizes.rows,
            max_steps=sizes.steps,
            save_steps=sizes.steps,
            warmup_steps=1,
            precision="bf16",
            **changes,
        )
        run_dir = train(config, _MIDI).run_dir
        lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [record for record in map(json.loads, lines) if "loss" in record]
    return steps[len(steps) // 2 :]


def optimizers(sizes: Sizes, device: torch.device) -> Iterator[Figure]:
    """What a step of Muon costs, one of AdamW, and the passes before it."""
    shape = {"n_embd": sizes.width, "n_layer": sizes.layers, "n_head": sizes.heads}
    tokens = torch.randint(_VOCABULARY, (sizes.rows, sizes.length), device=device)
    seconds: dict[str, float] = {}
    passes: list[float] = []
    for name in ("adamw", "muon"):
        model = _model(shape, sizes.length, "gpt2").to(device)
        optimizer = _optimizer(model, name, fused=True)
        taken = []
        for number in range(sizes.steps // 2 + 1):
            optimizer.zero_grad()
            begin = _now(device)
            with torch.autocast(device.type, torch.bfloat16):
                loss = token_losses(model(tokens), tokens).mean()
            torch.autograd.backward(loss)
            between = _now(device)
            optimizer.step()
            end = _now(device)
            if number:  # the first step makes the state
                passes.append(between - begin)
                taken.append(end - between)
        seconds[name] = statistics.median(taken)
        yield Figure(name=f"a step of {name}", value=1000 * seconds[name], unit="ms")
    whole = statistics.median(passes)
    yield Figure(name="forward and backward", value=1000 * whole, unit="ms")
    more = (whole + seconds["muon"]) / (whole + seconds["adamw"]) - 1
    yield Figure(name="Muon's overhead", value=100 * more, unit="% of a step with adamw")


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


# --- generation ------------------------------------------------------------------------------------------------------


def generation(sizes: Sizes, device: torch.device) -> Iterator[Figure]:
    """A third track of some bars, from the session to the score, on the device and with the CPU's kernels."""
    encoder: Any = build(current_registry().resolve("encoder", "midigpt"), EncoderContext())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        header: dict[str, Any] = {
            "architecture": "gpt2",
            "architecture_config": {"vocab_size": encoder.vocab_size, "n_positions": 2048, **sizes.generating},
            "encoder": "midigpt",
            "encoder_config": encoder.to_config(),
        }
        weights = _weights(header)
    bundle = Bundle(**header, state_dict=weights)
    for where in dict.fromkeys((device, torch.device("cpu"))):
        engine = InferenceEngine.from_bundle(bundle, where)
        for candidates in (1, sizes.candidates):
            request = request_for(candidates, bars=sizes.bars)
            rates = []
            for _ in range(2):  # the first call warms up
                session = engine.session(music.scores()[0], request)
                begin = time.perf_counter()
                session.run_variations()
                rates.append(session.tokens_written / (time.perf_counter() - begin))
            yield Figure(name=f"generation on {where.type}, {candidates} candidates", value=rates[-1], unit="tokens/s")


def _weights(header: dict[str, Any]) -> dict[str, Tensor]:
    sizes = header["architecture_config"]
    ref = current_registry().resolve(
        "architecture",
        {"name": header["architecture"], **{name: sizes[name] for name in ("n_embd", "n_layer", "n_head")}},
    )
    model: Any = build(ref, ArchitectureContext(vocab_size=sizes["vocab_size"], max_seq_len=sizes["n_positions"]))
    return dict(model.state_dict())


# --- models ----------------------------------------------------------------------------------------------------------


def _model(shape: dict[str, int], length: int, architecture: str) -> Any:
    """A model on the CPU, the same in every process."""
    ref = current_registry().resolve("architecture", {"name": architecture, **shape})
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return build(ref, ArchitectureContext(vocab_size=_VOCABULARY, max_seq_len=length))


def _optimizer(model: nn.Module, name: str, *, fused: bool) -> Any:
    config = TrainConfig(learning_rate=1e-3)
    return build_optimizer(model, optimization(config, current_registry().resolve("optimizer", name)), fused=fused)


# --- parts -----------------------------------------------------------------------------------------------------------

#: What is measured, in this order, and the seconds that each may take.
PARTS: dict[str, tuple[Part, int]] = {
    "correctness": (correctness, 80),
    "eager": (eager, 60),
    "optimizers": (optimizers, 45),
    "generation": (generation, 45),
    "stall": (stall, 60),
    "compiled": (compiled, 130),
}


def _work(name: str, sizes: Sizes, device: str, log: Path, pipe: Connection) -> None:
    """One part, in a process and a process group of its own; its output goes to ``log``, an error's traceback too."""
    os.setsid()
    stream = log.open("w", encoding="utf-8", buffering=1)
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    sys.stdout = sys.stderr = stream
    try:
        pipe.send(torch.cuda.get_device_name() if device == "cuda" else "CPU")
        for figure in PARTS[name][0](sizes, torch.device(device)):
            pipe.send(figure)
    finally:
        error = sys.exc_info()[1]
        if error is not None:
            traceback.print_exception(error)
        pipe.send(None if error is None else f"{type(error).__name__}: {error}".partition("\n")[0])


def run_part(name: str, sizes: Sizes, device: str, seconds: float, log: Path) -> dict[str, Any]:
    """The figures of a part, those before an error too, and the error in a line."""
    context = get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(name, sizes, device, log, theirs))
    begin = time.monotonic()
    process.start()
    assert process.pid is not None
    theirs.close()
    received: list[Any] = []
    error: str | None = f"took longer than its {seconds:.0f} seconds"
    while ours.poll(max(0.0, begin + seconds - time.monotonic())):
        try:
            received.append(ours.recv())
        except EOFError:
            error = "the process ended without a word"
            break
        if len(received) > 1 and not isinstance(received[-1], Figure):
            error = received.pop()
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # and its data workers
    process.join()
    return {
        "seconds": round(time.monotonic() - begin, 1),
        "device": received[0] if received else None,
        "error": error,
        "figures": [{**asdict(figure), "is_right": figure.is_right} for figure in received[1:]],
    }


def table(report: dict[str, Any]) -> str:
    devices = dict.fromkeys(part["device"] for part in report["parts"].values() if part["device"])
    head = f"{', '.join(devices) or 'no device'}, torch {report['torch']}"
    lines = [head, "", "| part | what | figure | at most |", "|---|---|---|---|"]
    for name, part in report["parts"].items():
        for figure in part["figures"]:
            value = "-" if figure["value"] is None else f"{figure['value']:.4g} {figure['unit']}"
            limit = (
                "" if figure["limit"] is None else f"{figure['limit']:g}" + ("" if figure["is_right"] else " **WRONG**")
            )
            lines.append(f"| {name} | {figure['name']} | {value} | {limit} |")
        if part["error"] is not None:
            lines.append(f"| {name} | **FAILED** after {part['seconds']} s | {part['error']} | |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/gpu.sh", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder for gpu.json, gpu.txt and logs")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all unless given")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    # NVML answers without starting CUDA, which must not be started before a fork.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    if not options.rehearse and not torch.cuda.is_available():
        parser.error("torch finds no GPU. --rehearse runs tiny sizes on the CPU.")
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("MIDIGPT_CACHE", str(options.out / "cache"))
    report: dict[str, Any] = {"rehearsal": options.rehearse, "torch": torch.__version__, "parts": {}}
    sizes, device = (TINY, "cpu") if options.rehearse else (REAL, "cuda")
    # A machine that rehearses may be busy.
    patience = 10 if options.rehearse else 1
    end = time.monotonic() + patience * _SECONDS
    for name in options.parts or PARTS:
        seconds = min(patience * PARTS[name][1], end - time.monotonic())
        part = run_part(name, sizes, device, seconds, options.out / f"{name}.log")
        report["parts"][name] = part
        print(f"{name}: {part['error'] or 'done'} ({part['seconds']} s)", file=sys.stderr, flush=True)
        # After every part: what was measured stays, whatever ends this process.
        (options.out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (options.out / "gpu.txt").write_text(table(report) + "\n", encoding="utf-8")
    print(table(report))
    parts = report["parts"].values()
    return int(any(part["error"] or not all(one["is_right"] for one in part["figures"]) for part in parts))


if __name__ == "__main__":
    sys.exit(main())
