"""``InferenceEngine``, the classes of its requests and sessions, and ``load_checkpoint``."""

from __future__ import annotations

from midigpt.sessions import GenerationCancelled, InferenceEngine, ScoreSession
from midigpt_core.checkpoint import Bundle, load_checkpoint
from midigpt_core.inference import (
    GenerationRequest,
    InferenceConfig,
    Progress,
    RequestValidationError,
    SamplingSession,
    TrackPrompt,
)

__all__ = [
    "Bundle",
    "GenerationCancelled",
    "GenerationRequest",
    "InferenceConfig",
    "InferenceEngine",
    "Progress",
    "RequestValidationError",
    "SamplingSession",
    "ScoreSession",
    "TrackPrompt",
    "load_checkpoint",
]
