"""Runs the program in a file. Nothing else does, and this does only if the user passed ``allow_unsafe``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from midigpt_core import terminal
from midigpt_core.checkpoint import build_model
from midigpt_core.errors import CheckpointError
from midigpt_legacy.heads import USUAL_COUNTS as HEAD_COUNTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from midigpt_core.contracts import Bundle

__all__ = ["HEAD_COUNTS", "confirmed"]

logger = terminal.logger(__name__)

_TOKENS = 16
_TOLERANCE = 1e-3


def confirmed(path: Path, candidates: Sequence[Bundle]) -> Bundle:
    """The candidate whose logits equal the logits of the program at ``path``.

    Raises :class:`midigpt_core.errors.CheckpointError` if there is none.
    """
    logger.warning("%s: running the program in this file, as allow_unsafe permits", path)
    module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    for bundle in candidates:
        expected = _program_logits(module, bundle)
        if expected is not None and _close(expected, bundle):
            return bundle
    raise CheckpointError(f"{path}: no GPT-2 of its tensors computes what its program does. Choose another checkpoint.")


def _tokens(bundle: Bundle) -> Tensor:
    config = bundle.architecture_config
    length = min(_TOKENS, config["n_positions"])
    tokens: Tensor = torch.arange(length) * 7 % config["vocab_size"]
    return tokens[None]


@torch.inference_mode()
def _program_logits(module: torch.jit.ScriptModule, bundle: Bundle) -> Tensor | None:
    """Logits of ``forward(ids, past)`` with an empty past, None if the program does not take this number of heads."""
    config = bundle.architecture_config
    heads = config["n_head"]
    empty = torch.zeros(1, heads, 0, config["n_embd"] // heads)
    try:
        logits, _ = module(_tokens(bundle), tuple((empty, empty) for _ in range(config["n_layer"])))
    except (RuntimeError, TypeError, ValueError):
        return None
    return logits if isinstance(logits, torch.Tensor) else None


@torch.inference_mode()
def _close(expected: Tensor, bundle: Bundle) -> bool:
    logits = build_model(bundle)(_tokens(bundle))
    return bool(logits.shape == expected.shape and (logits - expected).abs().max() <= _TOLERANCE)
