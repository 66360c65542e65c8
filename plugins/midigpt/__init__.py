"""The documented public API.

``midigpt.training.trainer`` (``TrainConfig``, ``train``), ``midigpt.training.preprocess``, ``midigpt.inference``
(``InferenceEngine``) and ``midigpt.tokenizer`` (``load_checkpoint``) export what :mod:`midigpt_core` contains.
``Score``, ``Track``, ``Bar`` and ``Note`` are the editable objects of the public package midigpt 0.4.2, see
:mod:`midigpt.score`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core import __version__
from midigpt_core.lazy import lazy_names

if TYPE_CHECKING:
    from midigpt.score import Bar, Note, Score, Track

__all__ = ["Bar", "Note", "Score", "Track", "__version__"]

__getattr__ = lazy_names(__name__, dict.fromkeys(("Bar", "Note", "Score", "Track"), ".score"))
