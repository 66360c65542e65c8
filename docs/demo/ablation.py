"""Trains what ``docs/infilling.md`` compares: two architectures, two optimisers, two kinds of positions, equal tokens.

All eight runs take the data and the settings of ``make run`` but half its steps. Each is scored like ``register.py``
scores a bundle, and fills in bars 4 and 5 of the same unseen melody for the picture: the melody and the sampling seed
for which the shares outside are nearest to those of the table, all runs together. A run that is there already is not
trained again, so that the script can be stopped. ``make run`` has to have run: it composes the pieces.

    python docs/demo/ablation.py [--steps 960] [--folder runs/ablation]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from compose import compose
from matplotlib.figure import Figure
from register import BARS, MANY, TRACKS, VALIDATION, Register, elsewhere, filled_and_true, first_pitch, mass_outside

from midigpt_core.inference import GenerationRequest, InferenceConfig, InferenceEngine, TrackPrompt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from midigpt_core.score import Score

_DEMO = Path(__file__).parent
_DATA = Path("runs/demo/data")
_PICTURE = _DEMO.parent / "ablation.png"
#: By architecture and optimiser: the rates that did best in the searches of docs/recipe.md.
_RATES: Mapping[tuple[str, str], dict[str, float]] = {
    ("gpt2", "adamw"): {"learning_rate": 2e-3},
    ("gpt2", "muon"): {"learning_rate": 4e-3, "muon_learning_rate": 0.03},
    ("llama", "adamw"): {"learning_rate": 2e-3},
    ("llama", "muon"): {"learning_rate": 1e-2, "muon_learning_rate": 0.03},
}
_POSITIONS = ("sequence", "placeholder")
#: Of sampling.
_SEEDS = range(1, 9)
#: Of the picture.
_SHOWN_BARS = range(10)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=960)
    parser.add_argument("--folder", type=Path, default=Path("runs/ablation"))
    options = parser.parse_args()
    columns = ("loss", "of filled bars", "outside", "probability outside", "first pitch", "inside")
    print("| architecture | optimiser | positions |", " | ".join(columns), "|")
    print("|---" * (3 + len(columns)) + "|", flush=True)
    engines: dict[str, InferenceEngine] = {}
    far = np.zeros((len(_SEEDS), len(VALIDATION)))
    for (architecture, optimizer), positions in product(_RATES, _POSITIONS):
        name = f"{architecture}-{optimizer}-{positions}"
        run = options.folder / name
        if not (run / "model_final.pt").exists():
            settings = {
                "architecture": architecture,
                "optimizer": optimizer,
                "infill_positions": positions,
                **_RATES[architecture, optimizer],
            }
            _train(options.folder / f"{name}.json", run, settings, options.steps)
        engine = InferenceEngine.from_checkpoint(run / "model_final.pt", "cpu")
        pieces = [filled_and_true(engine, TRACKS["melody"], seed)[0] for seed in _SEEDS]
        share = sum((piece for of_seed in pieces for piece in of_seed), Register()).share
        cells = " | ".join(_scored(engine, run, share))
        print(f"| {architecture} | {optimizer} | {positions} | {cells} |", flush=True)
        engines[f"{architecture}, {optimizer}, {positions}"] = engine
        # A piece without a note in the two bars would show nothing.
        far += [[abs(piece.share - share) if piece.notes else 1 for piece in of_seed] for of_seed in pieces]
    seed, piece = np.unravel_index(far.argmin(), far.shape)
    print(f"Shown: piece {VALIDATION[piece]}, sampling seed {_SEEDS[seed]}.")
    shown = {name: _filled(engine, VALIDATION[piece], _SEEDS[seed]) for name, engine in engines.items()}
    _draw(shown, _PICTURE)
    print(f"The picture is {_PICTURE}.")


def _train(config: Path, run: Path, settings: Mapping[str, Any], steps: int) -> None:
    base = json.loads((_DEMO / "train_config.json").read_text(encoding="utf-8"))
    del base["muon_learning_rate"]
    ends = {"max_steps": steps, "save_steps": steps, "eval_steps": steps}
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps(base | dict(settings) | ends, indent=1), encoding="utf-8")
    train, validation = (sorted((_DATA / split).glob("*.parquet")) for split in ("train", "validation"))
    command = ["train", "--config", config, "--train-data", *train, "--eval-data", *validation, "--output-dir", run]
    subprocess.run([sys.executable, "-m", "midigpt", *map(str, command)], check=True, stdout=subprocess.DEVNULL)


def _scored(engine: InferenceEngine, run: Path, share: float) -> list[str]:
    """The cells of a row: losses of the last evaluation, then the melody's register, ``share`` of it outside."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = [record for record in map(json.loads, lines) if "eval_loss" in record][-1]
    melody = TRACKS["melody"]
    mass = fmean(mass for number in MANY for mass in mass_outside(engine, compose(1, number), melody))
    costs, inside = zip(*(first_pitch(engine, compose(1, number), melody) for number in VALIDATION), strict=True)
    losses = (f"{last['eval_loss']:.3f}", f"{last['eval_loss/infill_target']:.3f}")
    return [*losses, f"{share:.0%}", f"{mass:.3f}", f"{fmean(costs):.2f}", f"{fmean(inside):.2f}"]


def _filled(engine: InferenceEngine, number: int, seed: int) -> Score:
    """The piece as :func:`filled_and_true` writes it with this seed."""
    config = InferenceConfig(seed=seed + number, max_attempts=1)
    request = GenerationRequest([TrackPrompt(id=TRACKS["melody"], bars=BARS)], config)
    return engine.session(compose(1, number), request).run()


def _draw(shown: Mapping[str, Score], path: Path) -> None:
    """A panel for each run, two in a row: the melody, filled bars in orange, the range of its other bars in grey."""
    figure = Figure(figsize=(10, 9), dpi=110, layout="constrained")
    panels = figure.subplots(len(shown) // 2, 2, sharex=True, sharey=True).ravel()
    for axes, (title, score) in zip(panels, shown.items(), strict=True):
        _roll(axes, score)
        axes.set_title(title, loc="left", fontsize=10)
    for axes in panels[-2:]:
        axes.set_xlabel("bar")
    figure.supylabel("pitch of the melody")
    figure.savefig(path)


def _roll(axes: Axes, score: Score) -> None:
    track = score.tracks[TRACKS["melody"]]
    low, high = elsewhere(score, TRACKS["melody"], BARS)
    axes.axhspan(low - 0.5, high + 0.5, color="0.93")
    for number in _SHOWN_BARS:
        bar = track.bars[number]
        length = bar.length * score.resolution
        begins = number + bar.notes.onset / length
        axes.barh(bar.notes.pitch, bar.notes.duration / length, 1, begins, color="C1" if number in BARS else "C0")
        axes.axvline(number, color="0.8", linewidth=0.6, zorder=0)
    axes.set_xlim(0, len(_SHOWN_BARS))


if __name__ == "__main__":
    main()
