"""Asking a trained model for music.

``request`` says what is asked for and ``validation`` what is wrong with it; ``planner`` which bars are written in which
window, ``fitting`` what a window does without so as to fit the model, ``prompts`` what the model reads first and
``writing`` how tokens follow; ``session`` carries a request out, ``engine`` loads a bundle and opens sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.lazy import lazy_names

if TYPE_CHECKING:
    from midigpt_core.inference.engine import InferenceEngine
    from midigpt_core.inference.request import GenerationRequest, InferenceConfig, TrackPrompt
    from midigpt_core.inference.session import Progress, SamplingSession
    from midigpt_core.inference.validation import RequestValidationError

_HOMES = {
    "GenerationRequest": ".request",
    "InferenceConfig": ".request",
    "InferenceEngine": ".engine",
    "Progress": ".session",
    "RequestValidationError": ".validation",
    "SamplingSession": ".session",
    "TrackPrompt": ".request",
}

__all__ = [
    "GenerationRequest",
    "InferenceConfig",
    "InferenceEngine",
    "Progress",
    "RequestValidationError",
    "SamplingSession",
    "TrackPrompt",
]


__getattr__ = lazy_names(__name__, _HOMES)
