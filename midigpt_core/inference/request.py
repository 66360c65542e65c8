"""What a model is asked for: plain values, checked all at once by :mod:`midigpt_core.inference.validation`.

The names are those of the public package midigpt 0.4.2. Tracks and bars count from 0 within the score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from attrs import evolve, field, frozen

from midigpt_core.config.structure import structure_class

#: ``token``: a MASK_BAR token; ``attention``: an empty bar that nothing attends to; ``remove``: an empty bar;
#: ``auto``: ``token`` if the encoder has one, else ``attention``.
MaskMode = Literal["auto", "token", "attention", "remove"]
#: ``auto``: tracks of ``context_drop``, then those with the most tokens; ``listed``: those of ``context_drop`` alone;
#: ``all``: none, a step that does not fit is narrowed instead.
ContextPolicy = Literal["auto", "listed", "all"]
Auto = Literal["auto"]


def _with_bar_numbers(prompt: Any) -> Any:
    """A track's plain values; keys of JSON are text: ``{"4": …}`` means bar 4."""
    levels = prompt.get("bar_attributes") if isinstance(prompt, Mapping) else None
    if not isinstance(levels, Mapping):
        return prompt
    numbered = {int(bar) if isinstance(bar, str) and bar.isdecimal() else bar: row for bar, row in levels.items()}
    return {**prompt, "bar_attributes": numbered}


def _integers(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(values)


@frozen(kw_only=True)
class InferenceConfig:
    """How to generate. ``"auto"`` (or 0) lets the planner choose."""

    #: Divides the logits before sampling; 0 takes the most probable token.
    temperature: float = 1.0
    #: Keep only so many of the most probable tokens; 0: all.
    top_k: int = 0
    #: Keep the smallest set of most probable tokens whose probabilities reach this sum; 1: all.
    top_p: float = 1.0
    #: Remove so many of the most probable tokens (one always stays); 0: none.
    mask_k: int = 0
    #: Remove most probable tokens until their probabilities reach this sum (one always stays); 0: none.
    mask_p: float = 0.0
    #: The same seed and request give the same music; -1: a fresh seed, which the session then reports.
    seed: int = -1

    #: Window in bars, one that the model was trained on. ``auto``: the widest that the piece fills.
    model_dim: int | Auto = "auto"
    #: Another name for :attr:`model_dim`.
    window_bars: int | Auto = "auto"
    #: Bars that one step writes. ``auto``: autoregressive steps keep ``ar_overlap`` of the window as history, infill
    #: steps write all of a window's bars.
    bars_per_step: int | Auto = "auto"
    #: Infill tracks that one step writes. ``auto``: all, or as many as the model saw at once.
    tracks_per_step: int | Auto = "auto"
    #: Share of an autoregressive window that is history when ``bars_per_step`` is ``auto``.
    ar_overlap: float = 0.5
    #: Least bars of history in an autoregressive window, where the track has them.
    min_overlap_bars: int = 2
    #: Plan and validate only: :meth:`SamplingSession.run` returns the score as it is.
    plan_only: bool = False

    #: How bars are hidden that are neither context nor to be written.
    mask_mode: MaskMode = "auto"
    #: Which context tracks a step leaves out that does not fit the model, or has more tracks than it ever saw.
    context: ContextPolicy = "auto"
    #: Tracks to leave out first, in this order.
    context_drop: Sequence[int] = field(default=(), converter=_integers)
    #: Tracks that are never left out.
    context_keep: Sequence[int] = field(default=(), converter=_integers)
    #: Factor on the estimated number of tokens that a step writes.
    budget_margin: float = 1.25

    #: Variations that :meth:`SamplingSession.run_variations` returns.
    num_candidates: int = 1
    #: At most so many notes sound at once in a written bar; 0: no limit.
    polyphony_hard_limit: int = 0
    #: At most so many notes in a written bar; 0: no limit.
    density_hard_limit: int = 0
    #: A step is tried at most so often until it passes the checks below; the last attempt stands.
    max_attempts: int = 3
    #: Try again if at least ``novelty_threshold`` of what was written was there before.
    novelty_check: bool = True
    novelty_threshold: float = 1.0
    #: Try again if a step wrote no note at all.
    silence_check: bool = True
    #: Factor on the temperature from attempt to attempt.
    temperature_escalation: float = 1.0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InferenceConfig:
        """From plain values (JSON). Raises ConfigError naming every unknown key and every value of another type."""
        return structure_class(values, cls, "config")

    def __attrs_post_init__(self) -> None:
        for one, other in (("model_dim", "window_bars"), ("window_bars", "model_dim")):
            if getattr(self, one) == "auto":
                object.__setattr__(self, one, getattr(self, other))


@frozen(kw_only=True)
class TrackPrompt:
    """What is asked of one track. A track without a prompt is context."""

    #: The track's index in the score.
    id: int
    #: Bars to write.
    bars: Sequence[int] = field(default=(), converter=_integers)
    #: Write ``bars`` one after another, after what the track has before them, instead of filling them in.
    autoregressive: bool = False
    #: Leave the track out of what the model sees; it comes back unchanged.
    ignore: bool = False
    #: Bars that the model must not see.
    mask_bars: Sequence[int] = field(default=(), converter=_integers)
    #: Attribute controls of the track, name -> level.
    attributes: Mapping[str, int] = field(factory=dict)
    #: Attribute controls of bars: bar -> name -> level. ``bar_`` at the start of a name may be left out.
    bar_attributes: Mapping[int, Mapping[str, int]] = field(factory=dict)
    #: ``time_signature``: ``"3/4"``, or an index into the encoder's list, for all of ``bars``.
    controls: Mapping[str, Any] = field(factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrackPrompt:
        """As :meth:`InferenceConfig.from_dict`. Bars as keys may be text, as JSON has them."""
        return structure_class(_with_bar_numbers(values), cls, "track")


def _prompts(values: Sequence[TrackPrompt]) -> tuple[TrackPrompt, ...]:
    return tuple(values)


@frozen
class GenerationRequest:
    """Per-track prompts, the configuration, and controls of the whole piece."""

    tracks: Sequence[TrackPrompt] = field(converter=_prompts)
    config: InferenceConfig = field(factory=InferenceConfig)
    #: ``genre``: a name that the encoder knows; ``velocity``, ``microtiming``: whether to write them.
    controls: Mapping[str, Any] = field(factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationRequest:
        """As :meth:`InferenceConfig.from_dict`."""
        tracks = values.get("tracks")
        if isinstance(tracks, list | tuple):
            values = {**values, "tracks": [_with_bar_numbers(track) for track in tracks]}
        return structure_class(values, cls, "request")

    def with_config(self, **changes: Any) -> GenerationRequest:
        """The same request with other values in its configuration."""
        return evolve(self, config=evolve(self.config, **changes))
