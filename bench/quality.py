"""Time to a loss: how long the baseline's trainer takes to its loss on held-out pieces, and how long ours takes to it.

python -m bench.run quality                # half an hour for each shape: not part of `make bench` unless named
python -m bench.quality --shape 512/6/8    # one shape; the figures of the other stay
python -m bench.quality --draw             # draws plots/quality.png from the figures of the last run again

Both sides train on one thread on the same pieces and are timed in processor seconds from the beginning of their first
step; their bundles are scored by the same evaluation on the same documents. The pieces are composed
(``docs/demo/compose.py``) and the MIDI files of the tests, one in six of each held out: anyone gets the same.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve, frozen
from matplotlib.figure import Figure

from bench import corpus
from bench.baseline_process import SCRIPTS
from bench.machine import describe, summary, today
from bench.rows import BASELINE, Row, ratio_at_most
from bench.session import Session
from midigpt_core.checkpoint import build_encoder, load_checkpoint, save_bundle
from midigpt_core.config import TrainConfig
from midigpt_core.training import evaluate
from midigpt_core.training.planning.objective import stream_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from midigpt_core.contracts import Bundle
    from midigpt_core.score import Score

RESULTS = Path(__file__).parent / "results" / "quality.json"
PLOT = Path(__file__).parent / "plots" / "quality.png"
COMPOSE = Path(__file__).parents[1] / "docs" / "demo" / "compose.py"

#: Composed pieces, and the share of all pieces that is held out. An epoch of the baseline is longer than its run.
COMPOSED = 3_000
HELD_OUT = 1 / 6
#: Held-out pieces to score on, of those; the rest is left.
SCORED = 120
#: Packed rows that a bundle is scored on.
EVALUATION_ROWS = 32
#: Processor seconds that the baseline trains.
SECONDS = 600
#: Shares of the baseline's time that ours is given, one run each, until one reaches the baseline's loss. A learning
#: rate that falls to its end needs to know where the end is.
SHARES = (0.05, 0.1, 0.2, 0.5, 1.0)
#: Of both sides. The baseline's own learning rate (5e-5) would be far slower: it gets the one that our AdamW takes.
_SHARED: dict[str, Any] = {"precision": "fp32", "max_tracks": 4, "mask_apply_probability": 0.0, "learning_rate": 2e-3}


@frozen(kw_only=True)
class _Shape:
    """A model, and how each side is used with it."""

    width: int
    layers: int
    heads: int
    length: int
    #: Samples in a batch of the baseline: its own default times its accumulation is 32.
    baseline_batch: int
    #: Fields of TrainConfig besides the shape.
    ours: Mapping[str, Any]
    #: Bundles that a run keeps on its way.
    marks: int = 12
    #: Steps that are timed to find how many fit in the seconds.
    timed_steps: int = 8

    @property
    def name(self) -> str:
        return f"{self.width}/{self.layers}/{self.heads}, rows of {self.length}"

    def shared(self) -> dict[str, Any]:
        sizes = {"n_embd": self.width, "n_layer": self.layers, "n_head": self.heads, "max_seq_len": self.length}
        return {**_SHARED, **sizes}


_SHAPES = (
    _Shape(
        width=128,
        layers=4,
        heads=4,
        length=1024,
        baseline_batch=16,
        # The demo's recipe (docs/recipe.md).
        ours={
            "architecture": "llama",
            "batch_size": 1,
            "learning_rate": 1e-2,
            "muon_learning_rate": 0.03,
            "num_bars_choices": [4],
        },
    ),
    _Shape(
        width=512,
        layers=6,
        heads=8,
        length=2048,
        baseline_batch=16,
        # In so few steps their number counts: shorter rows and fewer Newton-Schulz iterations make more of them. A step
        # costs the baseline 35 s, and an evaluation most of a minute.
        ours={
            "architecture": "llama",
            "batch_size": 1,
            "learning_rate": 1e-2,
            "muon_learning_rate": 0.03,
            "scheduler": "linear",
            "max_seq_len": 1024,
            "optimizer": {"name": "muon", "iterations": 3},
            "num_bars_choices": [4],
        },
        marks=6,
        timed_steps=3,
    ),
)


@frozen
class Curve:
    """Losses on held-out pieces along one run."""

    #: Processor seconds from the beginning of the first step.
    seconds: list[float]
    #: Nats per token.
    losses: list[float]

    def reaches(self, loss: float) -> float | None:
        """Seconds at which the loss is reached, between bundles along a straight line; None: never."""
        if self.losses[0] <= loss:
            return self.seconds[0]
        for (before, above), (after, below) in pairwise(zip(self.seconds, self.losses, strict=True)):
            if below <= loss:
                return before + (after - before) * (above - loss) / (above - below)
        return None


def rows(session: Session, shapes: Sequence[_Shape] | None = None) -> Iterator[Row]:
    """One row for each shape (all); the curves are written next to the table and drawn."""
    training, held_out = _pieces(session.folder)
    for shape in shapes or _SHAPES:
        folder = session.folder / "quality" / shape.name.partition(",")[0].replace("/", "-")
        shutil.rmtree(folder, ignore_errors=True)
        bench = _Bench(session, training, held_out, folder, shape)
        baseline = None if session.baseline_python is None else bench.baseline()
        ours = bench.ours(baseline)
        curves = {
            "measured": f"{today()}, {summary(describe())}",
            "baseline": None if baseline is None else [baseline.seconds, baseline.losses],
            "ours": [[curve.seconds, curve.losses] for curve in ours],
        }
        _keep(shape.name, curves)
        reached = None if baseline is None else ours[-1].reaches(baseline.losses[-1])
        yield Row(
            name=f"time to a loss, {shape.name}",
            unit="s",
            ours=ours[-1].seconds[-1] if reached is None else reached,
            theirs=None if baseline is None else baseline.seconds[-1],
            against=BASELINE,
            required=ratio_at_most(0.1),
            how=_how(shape, baseline, ours[-1], reached=reached is not None),
        )


def _keep(shape: str, curves: Mapping[str, Any]) -> None:
    """Write the curves of a shape next to the other results, in place of its last ones, and draw all."""
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    kept = known | {shape: curves}
    RESULTS.write_text(json.dumps(_rounded(kept), indent=1) + "\n", encoding="utf-8")
    draw(kept, PLOT)


def _how(shape: _Shape, baseline: Curve | None, ours: Curve, *, reached: bool) -> str:
    asked = "no baseline was run" if baseline is None else f"its loss then is {baseline.losses[-1]:.3f} nats a token"
    end = "" if reached or baseline is None else f", which ours does not reach: {ours.losses[-1]:.3f}"
    return (
        f"ours is {shape.ours.get('architecture', 'gpt2')} with Muon; one thread, processor seconds since step 1; "
        f"the baseline trains {SECONDS} s with batches of {shape.baseline_batch} samples; {asked}{end}; both are "
        "evaluated on the same held-out documents"
    )


@frozen
class _Bench:
    session: Session
    training: Path
    held_out: Path
    folder: Path
    shape: _Shape

    def baseline(self) -> Curve:
        python, config = self.session.baseline_python, self.shape.shared() | {"batch_size": self.shape.baseline_batch}
        assert python is not None

        def train(run: Path, steps: int, save: int) -> None:
            encoder = self.session.preset("yellow")
            arguments = (self.training, self.held_out, encoder, json.dumps(config | _warm_up(steps)), run, steps, save)
            self._run([python, SCRIPTS / "quality.py", *arguments], "baseline-cache")

        return self._curve("baseline", train, SECONDS, "model-step={}.safetensors")

    def ours(self, baseline: Curve | None) -> list[Curve]:
        """Runs of growing length, up to the first that reaches the baseline's loss."""
        config = self.shape.shared() | {"n_positions": self.shape.length, "encoder_config_path": "yellow"}

        def train(run: Path, steps: int, save: int) -> None:
            ends = {"max_steps": steps, "save_steps": save, "eval_steps": steps, "keep_checkpoints": self.shape.marks}
            every = json.dumps({**config, **self.shape.ours, **_warm_up(steps), **ends})
            self._run([sys.executable, "-m", "bench.quality_process", self.training, every, run], "cache")

        curves: list[Curve] = []
        for share in SHARES:
            curves.append(self._curve(f"ours-{share:g}", train, SECONDS * share, "model-step{}.pt"))
            if baseline is None or curves[-1].reaches(baseline.losses[-1]) is not None:
                break
        return curves

    def _curve(self, name: str, train: Any, seconds: float, bundle: str) -> Curve:
        """Train for about so many seconds, in a number of steps that a short run before finds; score the bundles."""
        trial, run = self.folder / f"{name}-trial", self.folder / name
        marks, timed = self.shape.marks, self.shape.timed_steps
        train(trial, timed, timed)
        began = _began(trial)
        # The first step also sets up.
        step = (began[-1] - began[1]) / (timed - 2)
        save = max(1, round(seconds / step / marks))
        train(run, marks * save, save)
        began = _began(run)
        kept = [(mark + 1) * save for mark in range(marks)]
        per_step = (began[-1] - began[0]) / (len(began) - 1)
        ends = [began[mark] if mark < len(began) else began[-1] + per_step for mark in kept]
        losses = [self._score(run / "checkpoints" / bundle.format(mark)) for mark in kept]
        print(f"  {name}: {kept[-1]} steps, {ends[-1] - began[0]:.0f} s, loss {losses[-1]:.3f}", flush=True)
        return Curve([end - began[0] for end in ends], losses)

    def _score(self, path: Path) -> float:
        """The loss of a bundle, on windows of the shape's length however long the rows were that it trained on."""
        path = save_bundle(_with_stream(load_checkpoint(path), self.shape), self.folder / "scored.pt")
        return evaluate.evaluate(path, str(self.held_out), rows=EVALUATION_ROWS, batch_size=4, device="cpu").loss

    def _run(self, command: Sequence[object], cache: str) -> None:
        environment = {**os.environ, "MIDIGPT_CACHE": str(self.session.folder / cache), "OMP_NUM_THREADS": "1"}
        subprocess.run([str(part) for part in command], check=True, env=environment, stdout=subprocess.DEVNULL)


def _with_stream(bundle: Bundle, shape: _Shape) -> Bundle:
    """The bundle with the settings by which the windows of the evaluation are drawn, the same for both sides."""
    config = TrainConfig(**{**shape.ours, **shape.shared(), "n_positions": shape.length})
    stream = asdict(stream_settings(config, build_encoder(bundle)))
    return evolve(bundle, provenance={**bundle.provenance, "stream": stream})


def _warm_up(steps: int) -> dict[str, int]:
    """A twentieth of the run."""
    return {"warmup_steps": max(1, steps // 20)}


def _began(run: Path) -> list[float]:
    began: list[float] = json.loads((run / "began.json").read_text(encoding="utf-8"))
    return began


def _pieces(folder: Path) -> tuple[Path, Path]:
    """Shards of pieces to train on and of held-out pieces, in the columns of GigaMIDI."""
    training, held_out = (folder / f"quality-{COMPOSED}-{split}.parquet" for split in ("training", "held-out"))
    if not (training.exists() and held_out.exists()):
        compose = _compose()
        files = [compose(1, number).to_bytes() for number in range(COMPOSED)]
        files += [path.read_bytes() for path in sorted(corpus.MIDI_FILES.glob("*.mid"))]
        every = round(1 / HELD_OUT)
        held = [file for number, file in enumerate(files) if number % every == every - 1]
        corpus.write_parquet(training, corpus.table([file for file in files if file not in set(held)]))
        corpus.write_parquet(held_out, corpus.table(held[-SCORED:]))
    return training, held_out


def _compose() -> Callable[[int, int], Score]:
    """``compose`` of the demo's script, which is no module of a package."""
    spec = spec_from_file_location("compose", COMPOSE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    compose: Callable[[int, int], Score] = module.compose
    return compose


def draw(measured: Mapping[str, Any], path: Path) -> None:
    """Loss over processor seconds, a panel for each shape."""
    figure = Figure(figsize=(9, 4), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(measured), squeeze=False)[0]
    for axes, (name, curves) in zip(panels, measured.items(), strict=True):
        for number, (seconds, losses) in enumerate(curves["ours"]):
            label = "midigpt, runs of growing length" if number == 0 else None
            axes.plot(seconds, losses, color="C0", marker=".", label=label)
        if curves["baseline"] is not None:
            seconds, losses = curves["baseline"]
            axes.plot(seconds, losses, color="C1", marker=".", label=BASELINE)
            axes.axhline(losses[-1], color="grey", linewidth=0.8, linestyle=":", zorder=0)
        axes.set_xscale("log")
        axes.set_xlabel("processor seconds of training")
        axes.set_ylabel("loss on held-out pieces, nats a token")
        axes.set_title(name, loc="left")
        axes.legend(frameon=False, loc="lower left")
        axes.spines[["top", "right"]].set_visible(False)
    dates = "; ".join(dict.fromkeys(curves["measured"] for curves in measured.values()))
    figure.supxlabel(f"Measured {dates}.", fontsize=7, color="grey", x=0.99, ha="right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--draw", action="store_true", help="draw the figures of the last run again")
    names = [shape.name.partition(",")[0] for shape in _SHAPES]
    what.add_argument("--shape", choices=names, help="measure this shape only")
    options = parser.parse_args()
    if options.draw:
        draw(json.loads(RESULTS.read_text(encoding="utf-8")), PLOT)
        return
    baseline = Path(".venv-baseline/bin/python")
    session = Session(repeats=1, folder=corpus.FOLDER, baseline_python=baseline if baseline.exists() else None)
    chosen = [shape for shape in _SHAPES if shape.name.startswith(f"{options.shape},")]
    for row in rows(session, chosen):
        print(f"{row.name}: {row.ours:.4g} {row.unit}, ratio {row.ratio or float('nan'):.4g}: {row.how}")


if __name__ == "__main__":
    main()
