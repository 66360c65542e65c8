"""Compares ways to make a model of few songs: the tables of docs/personal.md.

    python docs/chorales/styles.py songs --style jigs
    midigpt train songs/base/train --eval-data songs/base/held-out --config docs/chorales/base_config.json -o base
    python docs/chorales/few_songs.py FOLDER --base base/model_final.pt --songs songs [--only TEXT] [--tables]

``--songs`` is the folder that styles.py writes: 10, 30 and 100 songs are from its train folder, and all of its held-out
folder is evaluated on, always. ``--base`` is a model that knows none of them. Each row of the tables is a run
in FOLDER/runs and a file in FOLDER/rows; rows that have a file are not run again. All runs of a table take the same
number of steps of one packed row, on one thread; what is compared is processor time, which does not depend on what else
the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

STEPS = 100
EVALUATIONS = 4
COUNTS = (10, 30, 100)
#: Excerpts in which music and copies are measured.
EXCERPTS = 32

# The rates that `finetune` takes for a model that is 160 wide.
LORA = {"adapter": "lora", "learning_rate": 4e-3}
FULL = {"adapter": "none", "learning_rate": 1e-3}
#: Weights that start at random take the rates of docs/chorales/train_config.json, and Muon.
SCRATCH = {
    "adapter": "none",
    "optimizer": "muon",
    "learning_rate": 8e-3,
    "muon_learning_rate": 0.03,
    "weight_decay": 0.1,
}
#: Other rates and optimisers than the defaults of `finetune`.
RATES: dict[str, dict[str, Any]] = {
    "full-muon": {**SCRATCH, "learning_rate": 4e-3, "muon_learning_rate": 0.015},
    "full-muon-high": SCRATCH,
    "full-low": {**FULL, "learning_rate": 3e-4},
    "lora-8-low": {**LORA, "learning_rate": 1e-3},
    "lora-8-muon": {**LORA, "optimizer": "muon", "learning_rate": 4e-3, "muon_learning_rate": 0.02},
}
WAYS: dict[str, dict[str, Any]] = {
    "lora-4": {**LORA, "adapter.rank": 4},
    "lora-8": {**LORA, "adapter.rank": 8},
    "lora-16": {**LORA, "adapter.rank": 16},
    "lora-32": {**LORA, "adapter.rank": 32},
    "full": FULL,
    "frozen": {**FULL, "freeze": ["model.embed_tokens", "model.layers.[0-2].*"]},
    "scratch": SCRATCH,
    "scratch-10x": {**SCRATCH, "max_steps": 10 * STEPS},
    **RATES,
}
WAY_NAMES = {
    "lora-4": "LoRA, rank 4",
    "lora-8": "LoRA, rank 8 (the default)",
    "lora-8-low": "LoRA, rank 8, `learning_rate` 1e-3",
    "lora-8-muon": "LoRA, rank 8, `muon`, 4e-3 and 0.02",
    "lora-16": "LoRA, rank 16",
    "lora-32": "LoRA, rank 32",
    "frozen": "all but the embeddings and the lower three of five layers",
    "full": "all weights (`--full`)",
    "full-low": "all weights, `learning_rate` 3e-4",
    "full-muon": "all weights, `muon`, 4e-3 and 0.015",
    "full-muon-high": "all weights, `muon`, 8e-3 and 0.03",
    "scratch": "from scratch",
    "scratch-10x": "from scratch, 1,000 steps",
}
OFF: dict[str, Any] = {"transpose_range": [0, 0], "velocity_scale": [1.0, 1.0]}
AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "transposition": {"transpose_range": [-6, 6]},
    "velocity": {"velocity_scale": [0.8, 1.2]},
    "stretch": {"time_stretch_probability": 0.3},
    "dropout": {"track_dropout": 0.3},
    "rotation": {"bar_rotation_probability": 0.3},
}
AUGMENTATION_NAMES = {
    "none": "none",
    "transposition": "transposition",
    "velocity": "velocities",
    "stretch": "`time_stretch_probability` 0.3",
    "rotation": "`bar_rotation_probability` 0.3",
    "dropout": "`track_dropout` 0.3",
    "all": "all five",
}
#: Where a table has only some of the counts.
ONLY_AT = dict.fromkeys(("scratch-10x", *RATES), (30,))


def rows() -> dict[str, tuple[int, dict[str, Any]]]:
    """Name -> number of songs and settings, the most telling first."""
    every = {name: value for one in AUGMENTATIONS.values() for name, value in one.items()}
    changes = {"none": {}, "all": every, **AUGMENTATIONS}
    augmented = {f"augment-{name}": {**WAYS["lora-8"], **OFF, **change} for name, change in changes.items()}
    known = {**WAYS, **augmented}
    order = [
        ("lora-8", "full", "scratch"),
        ("scratch-10x", *RATES),
        ("augment-none", "augment-all"),
        ("lora-32", "frozen", "lora-4", "lora-16"),
        tuple(f"augment-{name}" for name in AUGMENTATIONS),
    ]
    return {
        f"{way}@{count}": (count, known[way])
        for ways in order
        for count in (30, 10, 100)
        for way in ways
        if count in ONLY_AT.get(way, COUNTS)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--songs", type=Path)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--tables", action="store_true", help="only print the tables of the rows that are there")
    asked = parser.parse_args()
    results = asked.folder / "rows"
    if not asked.tables:
        results.mkdir(parents=True, exist_ok=True)
        if asked.base is None or asked.songs is None:
            parser.error("--base and --songs are needed to run the rows.")
        held_out = asked.songs / "held-out"
        if not (results / "base.json").exists():
            write(results / "base.json", measured(asked.base, held_out))
        for name, (count, settings) in rows().items():
            if asked.only in name and not (results / f"{name}.json").exists():
                songs = first_songs(asked.songs / "train", count, asked.folder / f"songs-{count}")
                print(name, flush=True)
                write(results / f"{name}.json", row(name, songs, held_out, settings, asked))
    print("\n".join(tables(results)))


def first_songs(source: Path, count: int, target: Path) -> Path:
    files = sorted(source.glob("*.mid"))
    if len(files) < count:
        sys.exit(f"{source}: contains {len(files)} MIDI files, and {count} are needed.")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    # Every so many of the sorted names: neighbours are often settings of one melody.
    for file in files[:: len(files) // count][:count]:
        shutil.copy(file, target)
    return target


def row(name: str, songs: Path, held_out: Path, settings: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """Train as the settings say, and measure what the best step of the run generates."""
    run = asked.folder / "runs" / name
    shutil.rmtree(run, ignore_errors=True)
    steps = settings.get("max_steps", STEPS)
    common = {
        "max_steps": steps,
        "warmup_steps": steps // 20,
        "eval_steps": steps // EVALUATIONS,
        "save_steps": steps // EVALUATIONS,
        "eval_rows": 16,
        "num_bars_choices": [8],
        "max_seq_len": 1024,
        "precision": "fp32",
        # Every run takes all of its steps.
        "patience": 0,
        "copy_excerpts": 8,
    }
    # An option of the adapter comes after its name.
    options = [f"{key}={json.dumps(value)}" for key, value in sorted({**common, **settings}.items())]
    start = ["--init-from", str(asked.base)]
    if name.startswith("scratch"):
        # The sizes of the base, with new weights.
        start = ["--encoder-config", str(asked.base), *architecture(asked.base)]
    command = ["train", "--train-data", str(songs), "--eval-data", str(held_out), "--config", "finetune"]
    command += ["-o", str(run), *start, *[part for option in options for part in ("--set", option)]]
    used = midigpt(command)
    losses = {
        record["step"]: record["eval_loss"]
        for record in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        if "eval_loss" in record
    }
    best = min(losses, key=losses.__getitem__)
    bundle = run / "checkpoints" / f"model-step{best}.pt"
    adapter = bundle.with_name(f"adapter-step{best}.safetensors")
    return {
        **measured(bundle, held_out),
        "loss": losses[best],
        "last_loss": losses[max(losses)],
        "best_step": best,
        "steps": steps,
        "training_seconds": used[0],
        "peak_mib": used[1],
        "file_mib": (adapter if adapter.exists() else bundle).stat().st_size / 2**20,
        "guard": json.loads(midigpt_output(["inspect", str(bundle), "--json"]))["provenance"]["copies"],
    }


def architecture(base: Path) -> list[str]:
    found = json.loads(midigpt_output(["inspect", str(base), "--json"]))
    sizes = {name: found["architecture_config"][name] for name in ("n_embd", "n_layer", "n_head", "n_positions")}
    options = [f"{name}={value}" for name, value in sizes.items()]
    return ["--architecture", found["architecture"], *[part for option in options for part in ("--set", option)]]


def measured(bundle: Path, held_out: Path) -> dict[str, Any]:
    """Loss and music of a bundle on the held-out pieces."""
    command = ["evaluate", "--checkpoint", str(bundle), "--data", str(held_out), "--music", "--json"]
    found = json.loads(midigpt_output([*command, "--pieces", str(EXCERPTS)]))
    figures = {name: figure for name, figure in found["music"]["figures"].items() if "/" not in name}
    return {"loss": found["loss"], "music": figures}


def midigpt(arguments: list[str]) -> tuple[float, float]:
    """Run a command; its processor seconds and peak memory in MiB."""
    process = subprocess.Popen([sys.executable, "-m", "midigpt", *arguments], env=one_thread(), stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"midigpt {' '.join(arguments)} ended with {os.waitstatus_to_exitcode(status)}.")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**10


def midigpt_output(arguments: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "midigpt", *arguments], env=one_thread(), check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def write(path: Path, values: dict[str, Any]) -> None:
    """Under its name only when it is whole."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    part.rename(path)


def tables(results: Path) -> list[str]:
    """The tables, as they are in docs/personal.md."""
    lines = []
    for title, prefix, named in (("", "", WAY_NAMES), ("augmentation", "augment-", AUGMENTATION_NAMES)):
        found = [
            line(count, name, json.loads(path.read_text(encoding="utf-8")))
            for count in COUNTS
            for way, name in named.items()
            if (path := results / f"{prefix}{way}@{count}.json").exists()
        ]
        columns = f"songs | {title} | loss | pitches | onsets | copies | in the run | seconds | MiB | file, MiB"
        lines += ["", f"| {columns} |", "|---" * 10 + "|", *found] if found else []
    return lines


def line(count: int, name: str, found: dict[str, Any]) -> str:
    music, guard = found["music"], found["guard"]
    figures = [music[figure]["value"] for figure in ("pitch_classes", "onset_positions", "copy_rate")]
    shares = [percent(value) if value is not None else "" for value in figures]
    shares[2] += f" of {percent(music['copy_rate']['baseline'])}"
    rates = ", ".join(percent(guard[where]["model"]) for where in ("held_out", "training") if where in guard)
    loss = f"{found['loss']:.3f}"
    cost = [f"{found['training_seconds']:.0f}", f"{found['peak_mib']:.0f}", f"{found['file_mib']:.1f}"]
    return f"| {' | '.join([str(count), name, loss, *shares, rates, *cost])} |"


def percent(share: float) -> str:
    return f"{share * 100:.0f} %"


if __name__ == "__main__":
    main()
