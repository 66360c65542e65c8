"""``InferenceEngine``, the classes of its requests, and ``load_checkpoint``."""

from __future__ import annotations

from midigpt_core.checkpoint import Bundle, load_checkpoint
from midigpt_core.inference import (
    GenerationRequest,
    InferenceConfig,
    InferenceEngine,
    Progress,
    RequestValidationError,
    SamplingSession,
    TrackPrompt,
)

__all__ = [
    "Bundle",
    "GenerationRequest",
    "InferenceConfig",
    "InferenceEngine",
    "Progress",
    "RequestValidationError",
    "SamplingSession",
    "TrackPrompt",
    "load_checkpoint",
]
