"""A run that was stopped and continued is the run that was not, to the last bit: by signals that really come."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from midigpt_core.checkpoint import load_checkpoint
from midigpt_core.training.loop.module import TrainingModule
from midigpt_core.training.planning.resume import step_files
from support.stopping import Run, Stop, has_reached, joined, observed, outcome, until

if TYPE_CHECKING:
    from support.training import Configure

KILL, TERM, INT, USR1, HUP = signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP

#: Checkpoints at 2, 4, …; evaluations at 3, 6, 9: stops fall before, on and after both.
SETTINGS: dict[str, Any] = {"max_steps": 9, "accumulation": 2, "save_steps": 2, "eval_steps": 3}


@pytest.fixture(scope="module")
def whole(shard: Path, tmp_path_factory: pytest.TempPathFactory, make_config: Configure) -> dict[str, Any]:
    """The outcome of the run without a stop."""
    run = Run(make_config(tmp_path_factory.mktemp("whole") / "run", **SETTINGS), shard, shard)
    assert run.exit_code() == 0
    return outcome(run.folder)


def expected_code(number: signal.Signals) -> int:
    return -number if number == KILL else 128 + number


def stopped_and_continued(run: Run, stops: list[tuple[Stop, int]], whole: dict[str, Any]) -> None:
    """Stop the run at each of ``stops``, each with so many data workers, then let it end."""
    for stop, workers in stops:
        run.config.num_workers = workers
        assert run.exit_code(stop) == expected_code(stop.signal)
        if stop.signal != KILL:
            saved = stop.step if stop.in_evaluation else stop.step + 1
            assert max(step_files(run.folder / "checkpoints")) == saved, "the stop wrote no checkpoint"
        workers_seen = observed(run.folder)[-1]["workers"]
        assert len(workers_seen) == workers
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers_seen))  # noqa: B023
    run.config.num_workers = 0
    assert run.exit_code() == 0
    assert outcome(run.folder) == whole
    assert not list(run.folder.rglob(".midigpt-tmp-*"))


@pytest.mark.parametrize(
    "stops",
    [
        pytest.param([(Stop(2, 1, TERM), 0)], id="SIGTERM in mid-accumulation, at an evaluation"),
        pytest.param([(Stop(3, 0, INT, group=True), 2)], id="Ctrl-C to two data workers too"),
        pytest.param([(Stop(3, 1, KILL), 0), (Stop(7, 0, KILL), 1)], id="kill -9, twice"),
        pytest.param([(Stop(4, 0, HUP), 0)], id="the terminal closes"),
        pytest.param(
            [
                (Stop(3, 0, TERM, in_evaluation=True), 0),
                (Stop(3, 0, KILL), 0),
                (Stop(6, 1, INT, in_evaluation=True), 0),
            ],
            id="in evaluations, and killed before the next checkpoint",
        ),
    ],
)
def test_a_stopped_run_continues_to_the_last_bit(
    stops: list[tuple[Stop, int]], configure: Configure, shard: Path, whole: dict[str, Any]
) -> None:
    stopped_and_continued(Run(configure(**SETTINGS), shard, shard), stops, whole)


#: Every micro-batch of the first eight steps and the first of the ninth, in turn by each signal, with 0 to 4 workers.
POINTS = [
    (Stop(step, micro_batch, number, group=number == INT), workers)
    for (step, micro_batch), number, workers in zip(
        [*itertools.product(range(8), range(2)), (2, 0), (2, 1), (5, 0), (5, 1)],
        itertools.cycle([TERM, KILL, INT]),
        itertools.cycle([0, 1, 2, 4, 0]),
        strict=False,
    )
]


@pytest.mark.slow
@pytest.mark.parametrize("point", range(20))
def test_a_run_stopped_anywhere_continues_to_the_last_bit(
    point: int, configure: Configure, shard: Path, whole: dict[str, Any]
) -> None:
    first, workers = POINTS[point]
    # Every other one is stopped once more, further on; in the last step only SIGKILL stops a run.
    later = min(first.step + 2, 8)
    again = [(Stop(later, 1, KILL if later == 8 else [KILL, TERM, USR1][point % 3]), 1)] if point % 2 else []
    stopped_and_continued(Run(configure(**SETTINGS), shard, shard), [(first, workers), *again], whole)


@pytest.mark.parametrize("number", [TERM, INT])
def test_the_first_signal_is_answered_and_the_second_obeyed_at_once(
    number: signal.Signals, configure: Configure, shard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Run(configure(**SETTINGS), shard)
    process = run.start(Stop(3, 0, number, lasting=60))
    until(lambda: has_reached(run.folder, [3, 0]))
    assert process.pid is not None
    process.join(1)
    assert capfd.readouterr().err == "Stopping after this step. Send the signal again to stop now.\n"
    assert process.is_alive(), "the first signal must wait for the step"
    second = time.monotonic()
    os.kill(process.pid, number)
    process.join(10)
    assert time.monotonic() - second < 1
    assert process.exitcode == -number
    assert list(step_files(run.folder / "checkpoints")) == [2]


def test_a_stop_in_the_last_step_lets_the_run_end(configure: Configure, shard: Path) -> None:
    run = Run(configure(**SETTINGS), shard)
    assert run.exit_code(Stop(8, 1, TERM)) == 0
    assert (run.folder / "model_final.pt").exists()
    assert max(step_files(run.folder / "checkpoints")) == 9


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(Stop(8, 1, TERM), id="in the last step"),
        pytest.param(Stop(9, 0, TERM, in_evaluation=True), id="in the evaluation after it"),
        pytest.param(Stop(9, 1, HUP, in_evaluation=True), id="in its last batch"),
    ],
)
def test_the_evaluation_after_the_last_step_is_stopped_and_made_up(
    stop: Stop, configure: Configure, shard: Path, whole: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    run = Run(configure(**SETTINGS), shard, shard)
    assert run.exit_code(stop) == 128 + stop.signal
    saved = run.folder / "checkpoints" / "step9.ckpt"
    assert f"after step 9 of 9. Wrote {saved}; --resume auto continues from it." in capfd.readouterr().err
    assert not (run.folder / "model_final.pt").exists()
    steps = len(observed(run.folder))
    # Killed in the evaluation that is made up, it is made up once more.
    assert run.exit_code(Stop(9, 1, KILL, in_evaluation=True)) == -KILL
    assert run.exit_code() == 0
    assert len(observed(run.folder)) == steps, "no step is taken again"
    assert outcome(run.folder) == whole
    provenance = load_checkpoint(run.folder / "model_final.pt").provenance
    assert provenance["metrics"]["eval_loss"] == whole["evaluations"][-1]["eval_loss"]
    assert run.exit_code() == 0
    assert outcome(run.folder) == whole


def test_a_longer_run_stopped_after_its_last_step_gets_a_bundle_of_its_own(configure: Configure, shard: Path) -> None:
    run = Run(configure(**{**SETTINGS, "max_steps": 3}), shard, shard)
    assert run.exit_code() == 0
    run.config.max_steps = 6
    assert run.exit_code(Stop(6, 0, TERM, in_evaluation=True)) == 128 + TERM
    assert load_checkpoint(run.folder / "model_final.pt").provenance["steps"] == 3
    assert run.exit_code() == 0
    assert load_checkpoint(run.folder / "model_final.pt").provenance["steps"] == 6


def test_a_terminal_that_closes_twice_is_asked_once(configure: Configure, shard: Path) -> None:
    run = Run(configure(**SETTINGS), shard)
    process = run.start(Stop(3, 0, HUP, lasting=1))
    until(lambda: has_reached(run.folder, [3, 0]))
    assert process.pid is not None
    process.join(0.4)
    os.kill(process.pid, HUP)
    assert joined([process]) == [128 + HUP]
    assert max(step_files(run.folder / "checkpoints")) == 4


def test_a_run_under_nohup_outlives_its_terminal(configure: Configure, shard: Path) -> None:
    before = signal.signal(HUP, signal.SIG_IGN)
    try:
        process = Run(configure(max_steps=3), shard).start(Stop(1, 0, HUP))
    finally:
        signal.signal(HUP, before)
    assert joined([process]) == [0]


@pytest.mark.parametrize("place", ["a full disk", "a pipe without a reader", "a terminal that was closed"])
def test_a_run_ends_as_it_would_whoever_reads_its_output(
    place: str, configure: Configure, shard: Path, whole: dict[str, Any]
) -> None:
    if place == "a full disk":
        output = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, output = os.pipe() if "pipe" in place else os.openpty()
        os.close(reader)
    run = Run(configure(**SETTINGS), shard, shard, output)
    assert run.exit_code() == 0
    os.close(output)
    assert outcome(run.folder) == whole


def test_a_signal_before_the_first_step_ends_the_run_at_once(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def configure_optimizers(self: TrainingModule) -> Any:
        os.kill(os.getpid(), TERM)
        return original(self)

    original = TrainingModule.configure_optimizers
    monkeypatch.setattr(TrainingModule, "configure_optimizers", configure_optimizers)
    run = Run(configure(**SETTINGS), shard)
    assert run.exit_code() == 128 + TERM
    assert "Stopped by SIGTERM before a step was taken." in capfd.readouterr().err.splitlines()[-1]
    assert not observed(run.folder)


def test_the_handlers_from_before_are_back_afterwards(configure: Configure, shard: Path) -> None:
    from midigpt_core.training.run import train

    before = [signal.getsignal(number) for number in (TERM, INT, USR1, HUP)]
    train(configure(max_steps=1), shard)
    assert [signal.getsignal(number) for number in (TERM, INT, USR1, HUP)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_run_killed_with_its_workers_busy_leaves_none(configure: Configure, shard: Path) -> None:
    run = Run(configure(num_workers=2, **SETTINGS), shard)
    process = run.start(Stop(1, 0, TERM, lasting=60))
    until(lambda: has_reached(run.folder, [1, 0]))
    workers = observed(run.folder)[-1]["workers"]
    assert len(workers) == 2
    process.kill()
    joined([process])
    # At once, not when the workers happen to look for their parent, every five seconds.
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), seconds=4)
