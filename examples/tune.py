"""Searches settings with Optuna: each trial is a ``midigpt train``, and one that falls behind is stopped.

    pip install optuna
    python examples/tune.py songs/ -o search --trials 20 -- --architecture llama --max-steps 500 --eval-steps 50

What follows ``--`` goes to every ``midigpt train`` as it is. SPACE names the settings to search. A trial's evaluation
losses are read from its ``metrics.jsonl`` while it trains. The median pruner compares them with those of earlier trials
at the same step. The search is kept in OUTPUT/search.log: the same command again goes on with it.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Setting -> how a trial chooses its value.
SPACE = {
    "learning_rate": lambda trial: trial.suggest_float("learning_rate", 1e-3, 2e-2, log=True),
    "weight_decay": lambda trial: trial.suggest_float("weight_decay", 0.01, 0.3, log=True),
    "n_layer": lambda trial: trial.suggest_int("n_layer", 2, 6),
}
#: Seconds between two looks at a trial's metrics.
INTERVAL = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", nargs="+", help="music to train on, a tenth of which is held out")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="trials and their records")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of the search")
    own, passed_on = split(sys.argv[1:])
    options = parser.parse_args(own)
    options.output.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="midigpt",
        storage=JournalStorage(JournalFileBackend(str(options.output / "search.log"))),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
        load_if_exists=True,
    )
    # A sampler that begins with the same seed draws the same values: a search that goes on needs others.
    study.sampler = optuna.samplers.TPESampler(seed=options.seed + len(study.trials))
    study.optimize(lambda trial: loss_of(trial, options.data, options.output, passed_on), n_trials=options.trials)
    print(f"The best of {len(study.trials)} trials is {options.output / f'trial{study.best_trial.number}'}:")
    print(f"evaluation loss {study.best_value:.4f} with {json.dumps(study.best_params)}")


def split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The arguments before and after the first ``--``."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:place], arguments[place + 1 :]


def loss_of(trial: optuna.Trial, data: Sequence[str], output: Path, passed_on: Sequence[str]) -> float:
    """The last evaluation loss of one run. Raises TrialPruned if it was stopped for falling behind."""
    folder = output / f"trial{trial.number}"
    settings = [f"--{name}={choose(trial)}" for name, choose in SPACE.items()]
    command = [sys.executable, "-m", "midigpt", "train", *data, "-o", str(folder), *settings, *passed_on]
    run = subprocess.Popen(command)
    try:
        losses: list[float] = []
        for step, loss in evaluations(folder / "metrics.jsonl", run):
            losses.append(loss)
            trial.report(loss, step)
            if trial.should_prune():
                raise optuna.TrialPruned(f"evaluation loss {loss:.4f} at step {step}")
    finally:
        # The first SIGTERM lets the run write a checkpoint: it can be resumed.
        if run.poll() is None:
            run.send_signal(signal.SIGTERM)
        code = run.wait()
    if code or not losses:
        raise RuntimeError(f"trial {trial.number} ended with exit code {code} after {len(losses)} evaluations")
    return losses[-1]


def evaluations(metrics: Path, run: subprocess.Popen[bytes]) -> Iterator[tuple[int, float]]:
    """(step, evaluation loss) as they are written, until the run ends."""
    position, running = 0, True
    while running:
        running = run.poll() is None
        if metrics.exists():
            with metrics.open("rb") as file:
                file.seek(position)
                # The last line may not be complete yet.
                text = file.read().rpartition(b"\n")[0]
            position += len(text) + bool(text)
            for line in text.splitlines():
                record: dict[str, Any] = json.loads(line)
                if "eval_loss" in record:
                    yield record["step"], record["eval_loss"]
        if running:
            time.sleep(INTERVAL)


if __name__ == "__main__":
    main()
