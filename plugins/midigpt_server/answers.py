"""Answers to requests, in the form of the public package midigpt 0.4.2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midigpt_server.scores import score_to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.score import Score
    from midigpt_server.generation import Generation


def answer(generation: Generation, scores: Sequence[Score]) -> dict[str, Any]:
    """The answer with the candidates that a generation returned."""
    if generation.asked.request.config.num_candidates > 1:
        return _several(generation, scores)
    return _one(generation, scores[0])


def _one(generation: Generation, score: Score) -> dict[str, Any]:
    session = generation.session
    return {
        "request_id": generation.request_id,
        "model": generation.model.id,
        "status": "cancelled" if session.cancelled else "completed",
        "score": _score(generation, score),
        "seed": session.seed,
        "generated_bars": _generated_bars(generation),
        "dropped_context": _dropped(generation),
        "timing": _timing(generation),
        "tokens": _tokens(generation),
        "attempts": session.last_attempts,
    }


def _several(generation: Generation, scores: Sequence[Score]) -> dict[str, Any]:
    """Clients tell it from the answer with one candidate by the key ``candidates``.

    A request for one candidate with the ``seed`` of one of these gets the same music.
    """
    session = generation.session
    complete = [len(written) == session.num_targets for written in session.generated_bars]
    failures = [
        {"seed": session.seed_of(number), "reason": "cancelled before all of its bars were complete"}
        for number, whole in enumerate(complete)
        if not whole
    ]
    return {
        "request_id": generation.request_id,
        "model": generation.model.id,
        "status": "cancelled" if session.cancelled else "completed",
        "base_seed": session.seed,
        "generated_bars": _generated_bars(generation),
        "dropped_context": _dropped(generation),
        "candidates": [
            {
                "score": _score(generation, score),
                "seed": session.seed_of(number),
                "gen_count": session.tokens_of[number],
                "error": None,
                "truncated": not complete[number],
            }
            for number, score in enumerate(scores)
        ],
        "summary": {
            "requested": len(scores),
            "succeeded": sum(complete),
            "failed": len(failures),
            "failures": failures,
        },
        "timing": _timing(generation),
        "tokens": _tokens(generation),
    }


def _score(generation: Generation, score: Score) -> dict[str, Any]:
    return score_to_json(score, generation.parsed.future, generation.parsed.instruments)


def plan_answer(generation: Generation, request_id: str | None, *, cancelled: bool) -> dict[str, Any]:
    """The answer to ``plan_only``. The plan of a request that was ``cancelled`` may lack steps."""
    session = generation.session
    plan = session.plan_summary()
    return {
        "request_id": request_id,
        "model": generation.model.id,
        "status": "cancelled" if cancelled else "planned",
        "model_dim": max((step["end_bar"] - step["start_bar"] for step in plan), default=0),
        "plan": [
            {
                "window": [step["start_bar"], step["end_bar"]],
                "autoregressive": step["autoregressive"],
                "generate": {str(track): bars for track, bars in step["bars"].items()},
            }
            for step in plan
        ],
        "dropped_context": _dropped(generation),
    }


def _generated_bars(generation: Generation) -> dict[str, list[int]]:
    prompts = sorted(generation.session.request.tracks, key=lambda prompt: prompt.id)
    return {str(prompt.id): list(prompt.bars) for prompt in prompts if prompt.bars}


def _dropped(generation: Generation) -> list[int]:
    return sorted({track for dropped in generation.session.dropped_context for track in dropped.tracks})


def _timing(generation: Generation) -> dict[str, Any]:
    session = generation.session
    return {
        "model_forward_s": round(session.model_seconds, 4),
        "encode_s": round(session.encode_seconds, 4),
        "decode_s": round(session.decode_seconds, 4),
        "gen_count": session.tokens_written,
    }


def _tokens(generation: Generation) -> dict[str, Any]:
    session, most = generation.session, generation.model.engine.max_tokens
    written, seconds = session.tokens_written, session.model_seconds
    return {
        "context_tokens": session.context_tokens,
        "generated_tokens": written,
        "peak_context_tokens": session.longest_document,
        "max_context_tokens": most,
        "context_utilization": round(session.context_tokens / most, 4) if most else None,
        "tokens_per_second": round(written / seconds, 2) if seconds else None,
        "truncated": session.cancelled,
    }
