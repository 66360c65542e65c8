"""Music from a model, compared with the baseline: both load one bundle with random weights and write the same bars."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import torch
from attrs import frozen
from transformers import LlamaForCausalLM

from bench.measure import one_thread, take_turns
from bench.rows import BASELINE, Row, at_most, ratio_at_least
from midigpt_core.checkpoint import convert, save_bundle
from midigpt_core.checkpoint.assemble import with_weights
from midigpt_core.contracts import ArchitectureContext, BundleHeader, EncoderContext
from midigpt_core.encoding.encode_one import encode_part, part_of
from midigpt_core.inference import GenerationRequest, InferenceConfig, InferenceEngine, TrackPrompt
from midigpt_core.plugins import build, current_registry
from midigpt_core.score import Score
from midigpt_core.testing import music

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.session import Session

#: Notes of a bar at most: random weights would otherwise fill the model's window.
_LIMIT = 8
_BARS = 8
_PRECISIONS = ("float32", "bfloat16", "int8")
#: Tokens that transformers' generate reads and writes.
_PROMPT, _GENERATED = 256, 256
_SIZES = {
    "default": {"n_embd": 512, "n_layer": 6, "n_head": 8},
    "tiny": {"n_embd": 128, "n_layer": 4, "n_head": 4},
}
#: What `make run` leaves: its model, and music that it was not trained on.
_TRAINED = Path("runs/demo/model/model_final.pt")
_HELD_OUT = Path("runs/demo/data/validation/00000.parquet")
_HOW = (
    f"random weights, yellow, two tracks of {_BARS} bars as context, a third written with at most {_LIMIT} notes a bar"
    "; from the session to the score, reading the prompt included; processor seconds of one thread"
)


def rows(session: Session) -> Iterator[Row]:
    midi = session.folder / "generation.mid"
    midi.parent.mkdir(parents=True, exist_ok=True)
    music.scores()[0].to_midi(midi)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from _rows(session, midi)
    finally:
        torch.set_num_threads(threads)


def _rows(session: Session, midi: Path) -> Iterator[Row]:
    tiny, default = (random_bundle(session.folder, name) for name in ("tiny", "default"))
    with session.baseline("generation.py", tiny, midi, 1, _LIMIT) as baseline:
        measured = take_turns({"ours": _writes(tiny), "baseline": baseline}, session.repeats)
    yield _row("tiny (128/4/4)", measured, 3)
    with session.baseline("generation.py", default, midi, 1, _LIMIT) as baseline:
        contenders = {name: _writes(default, precision=name) for name in _PRECISIONS}
        measured = take_turns({**contenders, "baseline": baseline}, session.repeats)
    for precision, required in (("float32", 1.3), ("bfloat16", None), ("int8", 2)):
        one = {"ours": measured[precision], **({"baseline": measured["baseline"]} if "baseline" in measured else {})}
        yield _row(f"default (512/6/8), {precision} weights", one, required)
    with session.baseline("generation.py", default, midi, 16, _LIMIT) as baseline:
        many = take_turns({"ours": _writes(default, candidates=16), "baseline": baseline}, min(session.repeats, 3))
    yield _row("default, 16 candidates, the baseline 16 too", many, 6)
    alone = {"ours": many["ours"], **({"baseline": measured["baseline"]} if "baseline" in measured else {})}
    yield _row("default, 16 candidates, the baseline one", alone, None)
    yield from _architectures(session)
    yield from _overhead(tiny, session.repeats)
    yield _many_candidates(tiny, session.repeats)
    if _TRAINED.exists():
        yield from _likelihood()


def _row(name: str, measured: dict[str, Any], required: float | None) -> Row:
    return Row.of(
        name,
        "tokens/s",
        measured["ours"],
        measured.get("baseline"),
        against=BASELINE,
        required=None if required is None else ratio_at_least(required),
        how=_HOW,
    )


def _architectures(session: Session) -> Iterator[Row]:
    """Llama compared with gpt2, and with what transformers' own generate does with the same Llama."""
    bundles = {name: random_bundle(session.folder, "default", name) for name in ("gpt2", "llama")}
    contenders = {
        **{name: _writes(bundle) for name, bundle in bundles.items()},
        "generate": _generates(bundles["llama"], session.folder / "generation-llama"),
    }
    measured = take_turns(contenders, session.repeats)
    yield Row.of(
        "llama, default (512/6/8), float32 weights",
        "tokens/s",
        measured["llama"],
        measured["gpt2"],
        against="gpt2, same size",
        how=_HOW,
    )
    yield Row.of(
        "llama, default, compared with transformers' own generate",
        "tokens/s",
        measured["llama"],
        measured["generate"],
        against="transformers",
        how=f"{_HOW}; transformers: {_GENERATED} tokens after {_PROMPT}, with its cache, no grammar",
    )


def _generates(bundle: Path, folder: Path) -> Callable[[], Any]:
    """transformers' generate with the model of ``bundle``, as people call it."""
    model: Any = LlamaForCausalLM.from_pretrained(folder if folder.exists() else convert(bundle, folder))
    prompt = torch.randint(0, model.config.vocab_size, (1, _PROMPT), generator=torch.Generator().manual_seed(1))

    def write() -> float:
        torch.manual_seed(1)
        model.generate(prompt, max_new_tokens=_GENERATED, min_new_tokens=_GENERATED, do_sample=True, pad_token_id=0)
        return _GENERATED

    return one_thread(write)


def random_bundle(folder: Path, name: str, architecture: str = "gpt2") -> Path:
    """A bundle of one of the sizes with random weights, the same each time."""
    encoder: Any = build(current_registry().find("encoder", "midigpt").ref({"config": "yellow"}), EncoderContext())
    context = ArchitectureContext(vocab_size=encoder.vocab_size, max_seq_len=2048)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = build(current_registry().resolve("architecture", {"name": architecture, **_SIZES[name]}), context)
    header = BundleHeader(
        architecture=architecture,
        architecture_config=model.architecture_config(),
        encoder="midigpt",
        encoder_config=encoder.to_config(),
    )
    suffix = "" if architecture == "gpt2" else f"-{architecture}"
    return save_bundle(with_weights(header, model.state_dict()), folder / f"generation-{name}{suffix}.safetensors")


def request_for(candidates: int, bars: int = _BARS) -> GenerationRequest:
    """A third track of ``bars`` bars, in so many candidates."""
    config = InferenceConfig(
        seed=1,
        window_bars=bars,
        num_candidates=candidates,
        novelty_check=False,
        silence_check=False,
        max_attempts=1,
        density_hard_limit=_LIMIT,
    )
    return GenerationRequest([TrackPrompt(id=0, bars=range(bars), autoregressive=True)], config)


def _writes(bundle: Path, *, candidates: int = 1, precision: str = "float32") -> Callable[[], Any]:
    engine = InferenceEngine.from_checkpoint(bundle, "cpu", precision=precision)
    score, request = music.scores()[0], request_for(candidates)

    def write() -> float:
        session = engine.session(score, request)
        session.run_variations()
        return session.tokens_written

    return one_thread(write)


@frozen
class _TimedReader:
    """A reader that notes when each reading begins and ends, in processor seconds."""

    reader: Any
    spans: list[tuple[float, float]]

    def open(self, count: int, capacity: int) -> Any:
        return _TimedSequences(self.reader.open(count, capacity), self.spans)


@frozen
class _TimedSequences:
    sequences: Any
    spans: list[tuple[float, float]]

    def step(self, *arguments: Any) -> None:
        started = time.process_time()
        self.sequences.step(*arguments)
        self.spans.append((started, time.process_time()))


def _overhead(bundle: Path, repeats: int) -> Iterator[Row]:
    engine = InferenceEngine.from_checkpoint(bundle, "cpu")
    timed = _TimedReader(engine.reader(), [])
    engine._reader = timed
    figures = []
    for _ in range(repeats):
        timed.spans.clear()
        engine.session(music.scores()[0], request_for(1)).run()
        between = sum(begin - end for (_, end), (begin, _) in pairwise(timed.spans))
        figures.append(between / (len(timed.spans) - 1) * 1e3)
    yield Row(
        name="besides the model's own forward pass, a token",
        unit="ms",
        ours=sorted(figures)[len(figures) // 2],
        required=at_most(0.05),
        how="grammar, choice and loop: processor time from one reading's end to the next one's beginning, batch 1",
        samples={"ours": figures},
    )


def _many_candidates(bundle: Path, repeats: int) -> Row:
    """A candidate's cost among many, compared with that among few: both in one run."""
    few, many = 16, 256
    engine, score = InferenceEngine.from_checkpoint(bundle, "cpu"), music.scores()[0]

    def candidates(count: int) -> Callable[[], float]:
        # Short bars: what a candidate costs besides the model's own work is what could grow.
        request = request_for(count).with_config(density_hard_limit=1)

        def write() -> float:
            engine.session(score, request).run_variations()
            return count

        return write

    contenders = {"few": one_thread(candidates(few)), "many": one_thread(candidates(many))}
    measured = take_turns(contenders, min(repeats, 3))
    ratios = [
        few_rate / many_rate
        for few_rate, many_rate in zip(measured["few"].samples, measured["many"].samples, strict=True)
    ]
    return Row(
        name=f"a candidate's cost among {many}, compared with that among {few}",
        unit="times",
        ours=statistics.median(ratios),
        required=at_most(2),
        how="tiny (128/4/4), at most one note a bar; processor seconds of one thread, in turn",
        samples={"ours": ratios},
    )


def _likelihood() -> Iterator[Row]:
    """What lesser precisions do to the log-probabilities of held-out music."""
    engines = {name: InferenceEngine.from_checkpoint(_TRAINED, "cpu", precision=name) for name in _PRECISIONS}
    encoder = engines["float32"].encoder
    files = pq.read_table(_HELD_OUT).column("music").to_pylist()[:12]
    scores = [Score.from_bytes(file) for file in files]
    documents = [encode_part(encoder, score, part_of(score, bars=(0, 3))) for score in scores]
    likelihood = {
        name: np.concatenate([engine.score_tokens(tokens[: engine.max_tokens]) for tokens in documents])
        for name, engine in engines.items()
    }
    exact = likelihood.pop("float32")
    for name, scored in likelihood.items():
        yield Row(
            name=f"mean change of a token's log-probability, {name} weights",
            unit="nats",
            ours=float(np.abs(scored - exact).mean()),
            how=f"the model of `make run` on {len(exact)} held-out tokens; at most {np.abs(scored - exact).max():.3f}; "
            f"mean negative log-likelihood {-scored.mean():.4f} compared with {-exact.mean():.4f} with float32",
        )
