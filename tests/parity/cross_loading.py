"""midigpt-core and the public package midigpt 0.4.2 read each other's bundles: ``make parity`` prints the table.

For every preset, bundles with random weights go both ways. Compared are the logits (at most 1e-5 apart), the tokens of
the same clips (equal) and the encoder's configuration (equal). The package is a black box, run by its own interpreter.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve, frozen

from midigpt_core.checkpoint import build_encoder, build_model, load_checkpoint, save_bundle
from midigpt_core.checkpoint.assemble import with_weights
from midigpt_core.checkpoint.hub import DEFAULT_REPO, choose
from midigpt_core.cli.tables import table
from midigpt_core.contracts import Bundle, BundleHeader, EncoderContext
from midigpt_core.encoding.encode_one import encode_part, part_of
from midigpt_core.plugins import build, current_registry
from midigpt_core.score import Score

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

from tests.support.stub_hub import StubHub

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
BASELINE_SIDE = Path(__file__).with_name("baseline_side.py")
#: File, first of four bars, tracks: drums, two melodies, both together.
CLIPS = (
    ("groove_funk_92.mid", 8, (0,)),
    ("mutopia_bach_invention_08.mid", 4, (0, 1)),
    ("oga_the_ritual.mid", 32, (0, 1, 2)),
)
PRESETS = ("yellow", "ghost", "prism", "expressive")
SMALL = {"n_positions": 1024, "n_embd": 64, "n_layer": 2, "n_head": 4}
#: As the released models.
LARGE = {"n_positions": 1024, "n_embd": 512, "n_layer": 6, "n_head": 8}
TOLERANCE = 1e-5
#: The one file that 0.4.2 is known to refuse; midigpt-core reads it and says what it put right.
OLD = "old.pt"
#: Files on the Hub, and the name that both look up among them.
NAMES = {
    "both": ("both-final.safetensors", "both-step900.safetensors"),
    "steps": ("steps-step900.safetensors", "steps-step1000.safetensors", "steps-step99.safetensors"),
    "prefix": ("prefix-long-final.safetensors", "prefix-step5.safetensors"),
}
LOOK_UP = """
import sys
from midigpt.inference import InferenceEngine
for name in sys.argv[1:]:
    InferenceEngine.from_pretrained(name, device="cpu")
"""


@frozen
class Case:
    """A bundle for the baseline to read, clips that both encode, and where the baseline writes the bundle again."""

    what: str
    path: Path
    clips: tuple[Path, ...]
    resaved: Path


def random_bundle(preset: str, sizes: dict[str, int]) -> Bundle:
    """A bundle whose weights are as large as trained ones: those of a fresh model make every logit small."""
    encoder = build(current_registry().resolve("encoder", {"name": "midigpt", "config": preset}), EncoderContext())
    header = BundleHeader(
        architecture="gpt2",
        architecture_config={"vocab_size": encoder.vocab_size, **sizes},
        encoder="midigpt",
        encoder_config=encoder.to_config(),
    )
    torch.manual_seed(11)
    fresh = build_model(header).state_dict()
    return with_weights(header, {name: tensor + 0.05 * torch.randn_like(tensor) for name, tensor in fresh.items()})


def of_another_program(bundle: Bundle, path: Path) -> Path:
    """Format 1 without what only midigpt-core writes, saved by ``torch.save``."""
    content = {
        "format_version": 1,
        "arch": "gpt2",
        "config": dict(bundle.architecture_config),
        "encoder_config": dict(bundle.encoder_config),
        "state_dict": dict(bundle.state_dict),
    }
    torch.save(content, path)
    return path


def with_old_quirks(bundle: Bundle) -> Bundle:
    """As old transformers versions left it: causal masks among the weights, the head tied and so not there."""
    state = {name: tensor for name, tensor in bundle.state_dict.items() if name != "lm_head.weight"}
    size = bundle.architecture_config["n_positions"]
    for layer in range(bundle.architecture_config["n_layer"]):
        state[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, size, size, dtype=torch.bool).tril()
        state[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    return evolve(bundle, state_dict=state)


def four_bar_clips(folder: Path) -> tuple[Path, ...]:
    """MIDI files of four bars each, so that both programs encode the same window; on the grid, so that none is late."""
    encoder = build(current_registry().resolve("encoder", {"name": "midigpt", "config": "yellow"}), EncoderContext())
    written = []
    for name, bar, tracks in CLIPS:
        score = Score.from_midi(MIDI / name)
        tokens = encode_part(encoder, score, part_of(score, bars=(bar, bar + 3), tracks=tracks))
        written.append(folder / name)
        encoder.decode(tokens).to_midi(written[-1])
    return tuple(written)


def cases(folder: Path) -> Iterator[Case]:
    music = four_bar_clips(folder)
    for name, preset, sizes in (*((preset, preset, SMALL) for preset in PRESETS), ("yellow, 6 x 512", "yellow", LARGE)):
        place = folder / name.replace(" ", "")
        place.mkdir()
        bundle = random_bundle(preset, sizes)
        for suffix in (".pt", ".safetensors"):
            path = save_bundle(bundle, place / f"ours{suffix}")
            yield Case(f"{name}: our {suffix}", path, music, place / f"theirs{suffix}.safetensors")
    path = of_another_program(bundle, place / "plain.pt")
    yield Case(f"{name}: a plain .pt", path, music, place / "theirs-plain.safetensors")
    path = save_bundle(with_old_quirks(bundle), place / OLD)
    yield Case("old buffers, no lm_head", path, music, place / "theirs-old.safetensors")
    path = save_bundle(load_checkpoint(path), place / "put-right.pt")
    yield Case("the same, converted by us", path, music, place / "theirs-put-right.safetensors")


def ask_baseline(python: str, asked: Sequence[Case], folder: Path) -> list[dict[str, Any]]:
    answers = folder / "answers.json"
    bundles = [
        {"bundle": str(case.path), "clips": [str(clip) for clip in case.clips], "resaved": str(case.resaved)}
        for case in asked
    ]
    job = folder / "job.json"
    job.write_text(json.dumps({"bundles": bundles, "answers": str(answers)}), encoding="utf-8")
    subprocess.run([python, str(BASELINE_SIDE), str(job)], check=True)
    found: list[dict[str, Any]] = json.loads(answers.read_text(encoding="utf-8"))
    return found


def compared(what: str, ours: Bundle, case: Case, theirs: dict[str, Any]) -> tuple[bool, tuple[str, ...]]:
    """Whether all agrees, and the line that says how far."""
    model, encoder = build_model(ours), build_encoder(ours)
    with torch.inference_mode():
        apart = max(
            (model(torch.tensor([tokens]))[0] - torch.tensor(logits)).abs().max().item()
            for tokens, logits in zip(theirs["tokens"], theirs["logits"], strict=True)
        )
    scores = [Score.from_midi(clip) for clip in case.clips]
    encoded = [encode_part(encoder, score, part_of(score)).tolist() for score in scores]
    equal = sum(one == other for one, other in zip(encoded, theirs["tokens"], strict=True))
    same = dict(ours.encoder_config) == theirs["encoder_config"]
    passed = apart <= TOLERANCE and equal == len(encoded) and same
    count = sum(map(len, encoded))
    tokens = f"{equal} of {len(encoded)} clips, {count} tokens"
    return passed, (what, f"{apart:.1e}", tokens, "equal" if same else "differs", "yes" if passed else "NO")


def rows(asked: Sequence[Case], answers: Sequence[dict[str, Any]]) -> Iterator[tuple[bool, tuple[str, ...]]]:
    for case, answer in zip(asked, answers, strict=True):
        ours = load_checkpoint(case.path)
        if "refused" in answer:
            expected = case.path.name == OLD
            yield (
                expected,
                (f"{case.what}, read by 0.4.2", "-", answer["refused"][:60], "-", "yes" if expected else "NO"),
            )
            continue
        yield compared(f"{case.what}, read by 0.4.2", ours, case, answer)
        yield compared(f"{case.what}, written again by 0.4.2, read by us", load_checkpoint(case.resaved), case, answer)


def hub_rows(python: str, content: bytes, cache: Path) -> Iterator[tuple[bool, tuple[str, ...]]]:
    """Which file each asks the Hub for, on a stub server on the loopback interface."""
    with StubHub() as hub:
        hub.add(DEFAULT_REPO, {file: content for files in NAMES.values() for file in files})
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1"}
        subprocess.run([python, "-c", LOOK_UP, *NAMES], check=True, env=environment)
        asked = {request.rpartition("/")[2] for request in hub.requests if "/resolve/" in request}
    for name, files in NAMES.items():
        ours, theirs = choose(files, name, DEFAULT_REPO), sorted(asked & set(files))
        passed = theirs == [ours]
        yield passed, (name, ", ".join(files), str(ours), ", ".join(theirs), "yes" if passed else "NO")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("baseline", help="The interpreter that has the public package: .venv-baseline/bin/python.")
    baseline = parser.parse_args().baseline
    logging.basicConfig(format="warning: %(message)s")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        asked = list(cases(folder))
        found = list(rows(asked, ask_baseline(baseline, asked, folder)))
        looked_up = list(hub_rows(baseline, (folder / "yellow" / "ours.safetensors").read_bytes(), folder / "hub"))
    header = ("bundle", "logits apart", "tokens equal", "encoder", "agrees")
    print(table(header, [line for _, line in found]))
    print()
    header = ("name", "files on the Hub", "we fetch", "0.4.2 fetches", "agrees")
    print(table(header, [line for _, line in looked_up]))
    return 0 if all(passed for passed, _ in (*found, *looked_up)) else 1


if __name__ == "__main__":
    sys.exit(main())
