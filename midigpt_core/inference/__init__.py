"""Generates music with a trained model.

``request`` defines requests and ``validation`` checks them. ``planner`` divides it into steps, each with a window
and the bars to write. ``fitting`` leaves out context until a step fits the model. ``prompts`` makes the documents that
the model reads first, and ``generation`` adds tokens to them. ``session`` carries out a request; ``engine`` loads a
bundle and opens sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.lazy import lazy_names

if TYPE_CHECKING:
    from midigpt_core.inference.engine import InferenceEngine
    from midigpt_core.inference.request import GenerationRequest, InferenceConfig, TrackPrompt
    from midigpt_core.inference.session import FreshNotes, Progress, SamplingSession
    from midigpt_core.inference.validation import RequestValidationError

_HOMES = {
    "FreshNotes": ".session",
    "GenerationRequest": ".request",
    "InferenceConfig": ".request",
    "InferenceEngine": ".engine",
    "Progress": ".session",
    "RequestValidationError": ".validation",
    "SamplingSession": ".session",
    "TrackPrompt": ".request",
}

__all__ = [
    "FreshNotes",
    "GenerationRequest",
    "InferenceConfig",
    "InferenceEngine",
    "Progress",
    "RequestValidationError",
    "SamplingSession",
    "TrackPrompt",
]


__getattr__ = lazy_names(__name__, _HOMES)
