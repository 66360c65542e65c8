"""Chooses model size, batch and steps for this machine, the music and a number of minutes.

A few steps of the smallest model are timed, on weights of their own. What is chosen is written into the configuration
and recorded with the run: the run depends on these settings only, however they came about, and is resumed with them.
"""

from __future__ import annotations

import copy
import math
import time
from typing import TYPE_CHECKING

import torch
from attrs import evolve, frozen

from midigpt_core.config import TrainConfig
from midigpt_core.config.packaged import preset_names
from midigpt_core.cores import available_cores
from midigpt_core.errors import ConfigError, DataError
from midigpt_core.inference import InferenceEngine
from midigpt_core.music.excerpts import draw_excerpts
from midigpt_core.music.generating import generate
from midigpt_core.plugins import current_registry
from midigpt_core.training.loop.data_module import first_rows
from midigpt_core.training.loop.initial import beginning
from midigpt_core.training.loop.losses import token_losses
from midigpt_core.training.loop.optimization import build_optimizer, optimization
from midigpt_core.training.loop.precision import arithmetic
from midigpt_core.training.planning.chosen import choose
from midigpt_core.training.planning.recorded import chosen_for, is_free
from midigpt_core.training.reporting.flops import ModelFlops

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from midigpt_core.training.loop.data_module import Batch
    from midigpt_core.training.planning.prepare import Plan

#: Sizes to choose from, ascending: n_embd, n_layer, n_head.
SIZES = ((128, 4, 4), (192, 6, 6), (256, 6, 8), (384, 8, 8), (512, 8, 8), (768, 12, 12))
# The architectures whose blocks have as many weights as :func:`_flops` counts.
_SIZED = ("gpt2", "llama")
# Tokens to train on per parameter before a larger model is worth its cost, and passes over the music after which
# further ones teach little.
_TOKENS_A_PARAMETER = 20
_MOST_PASSES = 100
#: About how many tokens a note takes, with its share of bars and tracks.
_TOKENS_A_NOTE = 4.0

# A run has this many evaluations, together at most this share of its time.
_EVALUATIONS = 4
_EVALUATION_SHARE = 0.1
# Measuring copies takes the first share of a run's time at most, or up to the second for the fewest excerpts of each
# kind that tell something; so many are timed.
_COPIES_SHARE = 0.15
_MOST_COPIES_SHARE = 0.25
_FEWEST_EXCERPTS = 8
_TIMED_EXCERPTS = 8
# Steps below which rows are not gathered into larger batches.
_STEPS_WORTH_A_BATCH = 2000
_LARGEST_BATCH = 32
# Rows of a timed batch on a GPU, which is idle with fewer; a CPU is busy with one.
_GPU_ROWS = 8
# Share of the minutes, and seconds at most, that timing may take after the first step; most steps timed.
_TIMING_SHARE = 0.04
_MOST_TIMING_S = 20.0
_TIMED_STEPS = 10
# What is not training: the loss, logging, checkpoints, and seconds for the model's start and its last bundle.
_OVERHEAD = 1.04
_ENDS_S = 4.0


@frozen(kw_only=True)
class Timing:
    """What a step takes here, in seconds per row."""

    train: float
    evaluate: float
    tokens: float
    #: Seconds for an excerpt in which copies are measured; 0: they are not measured, or there is no base to time.
    excerpt: float = 0.0


@frozen(kw_only=True)
class Fitted:
    """A plan whose open settings were chosen."""

    plan: Plan
    #: One line per choice, for people.
    lines: tuple[str, ...]


def fit_minutes(plan: Plan, minutes: float, *, spent: float = 0.0) -> Fitted:
    """The plan with model size, batch, steps and evaluations chosen so that training takes about ``minutes``, of which
    ``spent`` seconds are over. Settings that the user set stay as they are.

    Raises :class:`ConfigError` for a run on several devices, whose processes would choose differently.
    """
    config = copy.deepcopy(plan.config)
    if config.devices * config.num_nodes > 1:
        raise ConfigError("--minutes: a run on several devices is not timed. Set max_steps (--max-steps) instead.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    origin = chosen_for(minutes)
    _choose(config, {"precision": _precision(device)}, origin)
    budget = max(1.0, 60 * minutes - spent - _ENDS_S)
    sized = is_free(config, "n_embd") and is_free(config, "n_layer") and is_free(config, "n_head")
    sized = sized and config.choice("architecture")["name"] in _SIZED
    if sized:
        _choose(config, _sizes(0), origin)
    plan = _replanned(plan, config)
    timing_s = min(_MOST_TIMING_S, _TIMING_SHARE * budget)
    started = time.monotonic()
    timing = _timed(plan, device, timing_s)
    music = _tokens_of_music(plan)
    if sized and (best := _best_size(plan, timing, budget, music)):
        _choose(config, _sizes(best), origin)
        if config.origins["learning_rate"] in preset_names():
            # The packaged rate was measured at the smallest width; wider embeddings and heads take smaller steps.
            rate = config.learning_rate * SIZES[0][0] / SIZES[best][0]
            _choose(config, {"learning_rate": rate}, origin)
        plan = _replanned(plan, config)
        timing = _timed(plan, device, timing_s)
    timing = evolve(timing, excerpt=_timed_excerpt(plan))
    took = time.monotonic() - started
    budget = max(1.0, budget - took)
    _choose_steps(config, timing, budget, music, origin)
    plan = _replanned(plan, config)
    return Fitted(plan=plan, lines=tuple(_lines(plan, device, timing, minutes=minutes, music=music, took=took)))


def _choose(config: TrainConfig, values: dict[str, Any], origin: str) -> None:
    config.update({name: value for name, value in values.items() if is_free(config, name)}, origin)


def _precision(device: torch.device) -> str:
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def _sizes(index: int) -> dict[str, Any]:
    return dict(zip(("n_embd", "n_layer", "n_head"), SIZES[index], strict=True))


def _replanned(plan: Plan, config: TrainConfig) -> Plan:
    """The plan with a changed configuration; nothing that decides the token stream has changed."""
    chosen = choose(config, current_registry(), encoder=plan.chosen.encoder)
    return evolve(plan, config=copy.deepcopy(config), chosen=chosen)


def _timed(plan: Plan, device: torch.device, seconds: float) -> Timing:
    """Time steps of a model of the plan for about ``seconds``. The model and its optimiser are discarded, and no random
    number is drawn from torch's generator."""
    config = plan.config
    rows = min(config.batch_size, _GPU_ROWS) if not is_free(config, "batch_size") else 1
    if device.type == "cuda" and is_free(config, "batch_size"):
        rows = _GPU_ROWS
    begun = beginning(plan)
    model = begun.model.to(device).train()
    optimizer = build_optimizer(
        model, optimization(config, plan.chosen.optimizer), fused=False, adapted=begun.adapted is not None
    )
    batches = list(first_rows(plan.training, rows * _TIMED_STEPS, rows))
    tokens = sum(int((batch["document_ids"] >= 0).sum()) for batch in batches) / (rows * len(batches))
    taken: list[float] = []
    deadline = time.monotonic() + seconds
    # The first step allocates memory and compiles kernels: it counts only if there is no time for another one.
    for batch in [batches[0], *batches]:
        started = time.monotonic()
        torch.autograd.backward(_forward(model, batch, device, config.precision))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _wait(device)
        taken.append(time.monotonic() - started)
        if time.monotonic() > deadline:
            break
    with torch.inference_mode():
        started = time.monotonic()
        _forward(model, batches[0], device, config.precision)
        _wait(device)
        evaluate = time.monotonic() - started
    return Timing(train=_median(taken[1:] or taken) / rows, evaluate=evaluate / rows, tokens=tokens)


def _timed_excerpt(plan: Plan) -> float:
    """Seconds that the base takes for an excerpt of the held-out pieces; 0 where copies are not measured, and without
    a base: what random weights generate is no guide."""
    if plan.copy_metric is None or plan.base is None or plan.evaluation is None:
        return 0.0
    engine = InferenceEngine.from_checkpoint(plan.base.path)
    try:
        excerpts = draw_excerpts(plan.evaluation, engine.encoder, _TIMED_EXCERPTS, controls=False, fewest_pieces=1)
    except DataError:
        # Without an excerpt nothing is measured. The run warns of it.
        return 0.0
    started = time.monotonic()
    generate(engine, excerpts)
    return (time.monotonic() - started) / len(excerpts.free)


def _forward(model: torch.nn.Module, batch: Batch, device: torch.device, precision: str) -> torch.Tensor:
    moved = {name: values.to(device) for name, values in batch.items()}
    with arithmetic(precision, device):
        logits = model(moved["input_ids"], position_ids=moved["position_ids"], document_ids=moved["document_ids"])
        return token_losses(logits, moved["labels"]).mean()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _tokens_of_music(plan: Plan) -> float:
    """About how many tokens the notes of all training pieces make."""
    corpus = plan.training.open().corpus
    shards, local = corpus.locate(plan.training.pieces)
    notes = 0
    for number in set(shards.tolist()):
        offsets = corpus.shards[number].columns.note_offsets
        chosen = local[shards == number]
        notes += int((offsets[chosen + 1] - offsets[chosen]).sum())
    return max(1.0, _TOKENS_A_NOTE * notes)


def _best_size(plan: Plan, timing: Timing, budget: float, music: float) -> int:
    """The largest size that sees enough tokens per parameter in ``budget`` seconds, without too many passes."""
    vocabulary = plan.encoder.vocab_size
    flops = [_flops(size, vocabulary) for size in SIZES]
    best = 0
    for index, one in enumerate(flops):
        # Larger matrices run no slower per operation, so this is a bound.
        tokens = budget / (timing.train * one.of(1, 0) / flops[0].of(1, 0)) * timing.tokens
        parameters = one.per_token / 6
        if min(tokens, _MOST_PASSES * music) >= _TOKENS_A_PARAMETER * parameters:
            best = index
    return best


def _flops(size: tuple[int, int, int], vocabulary: int) -> ModelFlops:
    width, layers, _ = size
    return ModelFlops(per_token=6.0 * (12 * layers * width**2 + vocabulary * width), per_pair=12.0 * layers * width)


def _choose_steps(config: TrainConfig, timing: Timing, budget: float, music: float, origin: str) -> None:
    # Excerpts of two kinds, of the base and at each evaluation.
    a_round = 2 * (_EVALUATIONS + 1) * timing.excerpt
    if a_round > 0:
        affordable = int(budget * _COPIES_SHARE / a_round)
        most = TrainConfig().copy_excerpts
        fewest = max(1, min(_FEWEST_EXCERPTS, int(budget * _MOST_COPIES_SHARE / a_round)))
        _choose(config, {"copy_excerpts": max(fewest, min(most, affordable))}, origin)
    rows = max(0.0, budget * (1 - _EVALUATION_SHARE) - a_round * config.copy_excerpts) / (timing.train * _OVERHEAD)
    batch = 2 ** max(0, math.floor(math.log2(max(1.0, rows / _STEPS_WORTH_A_BATCH))))
    _choose(config, {"batch_size": min(batch, _LARGEST_BATCH)}, origin)
    rows_a_step = config.batch_size * config.accumulation
    evaluated = int(budget * _EVALUATION_SHARE / _EVALUATIONS / timing.evaluate)
    _choose(config, {"eval_rows": max(4, min(TrainConfig().eval_rows, evaluated))}, origin)
    enough = _MOST_PASSES * music / (rows_a_step * timing.tokens)
    steps = max(1, int(min(rows / rows_a_step, enough)))
    # The last step is evaluated too.
    steps -= steps % max(1, steps // _EVALUATIONS)
    _choose(config, {"max_steps": steps}, origin)
    steps = config.max_steps
    between = max(1, steps // _EVALUATIONS)
    if steps % between:
        between += 1  # the user's own number of steps
    _choose(
        config,
        {
            "warmup_steps": min(1000, max(1, steps // 20)),
            "eval_steps": between,
            "save_steps": between,
            "log_steps": max(1, min(TrainConfig().log_steps, steps // 20)),
        },
        origin,
    )


def _lines(
    plan: Plan, device: torch.device, timing: Timing, *, minutes: float, music: float, took: float
) -> Iterator[str]:
    config = plan.config
    sizes = plan.config.choice("architecture")
    machine = f"{available_cores()} cores" if device.type == "cpu" else torch.cuda.get_device_name()
    yield (
        f"size: {', '.join(f'{name} {sizes[name]}' for name in ('n_embd', 'n_layer', 'n_head') if name in sizes)}, "
        f"learning_rate {config.learning_rate:g}, {config.precision}, for {machine} and {minutes:g} "
        f"minute{'' if minutes == 1 else 's'}  "
        "(--set n_embd=N, …)"
    )
    rows = config.batch_size * config.accumulation
    counted = "1 row" if config.batch_size == 1 else f"{config.batch_size} rows"
    yield f"batch: {counted} of {config.max_seq_len:,} tokens  (--batch-size N)"
    seconds = timing.train * rows
    passes = config.max_steps * rows * timing.tokens / music
    trained = len(plan.training.pieces)
    yield (
        f"steps: {config.max_steps:,} of {seconds:.2f} s, timed in {took:.0f} s; about {passes:.1f} passes over "
        f"{trained:,} piece{'' if trained == 1 else 's'}  (--max-steps N)"
    )
    if plan.evaluation is not None:
        pieces = len(plan.evaluation.pieces)
        counted = "1 row" if config.eval_rows == 1 else f"{config.eval_rows} rows"
        yield (
            f"evaluation: {counted} every {config.eval_steps:,} steps, from "
            f"{pieces:,} piece{'' if pieces == 1 else 's'}  (--set eval_steps=N)"
        )
    if plan.copy_metric is not None and plan.evaluation is not None:
        measured = -(-config.max_steps // config.eval_steps)
        seconds = 2 * (measured + 1) * config.copy_excerpts * timing.excerpt
        about = f", about {seconds:.0f} s in all" if seconds else ""
        yield (
            f"copies: measured in {config.copy_excerpts} excerpts of the music and {config.copy_excerpts} of held-out "
            f"pieces, {measured} times{about}  (--set copy_excerpts=N)"
        )
