"""Requests to a model: plain values, which :mod:`midigpt_core.inference.validation` checks all at once.

The names are those of the public package midigpt 0.4.2. Tracks and bars count from 0 within the score. The range of a
field is declared with it.
"""

# ruff: noqa: RUF009 (`number` and `places` return attrs fields, not default values)

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from attrs import evolve, field, frozen

from midigpt_core.inference.fields import from_plain, integer, integers_within, listed, number, places, says_the_field
from midigpt_core.inference.plain import config_values, prompt_values, record_values

#: ``token``: a MASK_BAR token; ``attention``: an empty bar that nothing attends to; ``remove``: an empty bar;
#: ``auto``: ``token`` if the encoder has one, else ``attention``. ``attention_approx`` and ``attention_skip`` are other
#: names of ``attention``.
MaskMode = Literal["auto", "token", "attention", "attention_approx", "attention_skip", "remove"]
#: ``auto``: tracks of ``context_drop``, then those that matter least
#: (:func:`midigpt_core.inference.context.rank_context`); ``listed``: those of ``context_drop`` alone; ``all``: none, a
#: step that does not fit is narrowed instead.
ContextPolicy = Literal["auto", "listed", "all"]
Auto = Literal["auto"]

_LARGEST = 2**31 - 1
#: Bars of the longest piece that is read (docs/limits.md).
_MOST_BARS = 20_000


def _with_bar_numbers(prompt: Any) -> Any:
    """A track's plain values; keys of JSON are text: ``{"4": …}`` means bar 4."""
    for name in ("bar_attributes", "bar_controls"):
        rows = prompt.get(name) if isinstance(prompt, Mapping) else None
        if not isinstance(rows, Mapping):
            continue
        numbered = {
            int(bar) if isinstance(bar, str) and re.fullmatch(r"0|[1-9][0-9]{0,8}", bar) else bar: row
            for bar, row in rows.items()
        }
        # Bar 1 by number and by text is one bar too many: the text stays, and is named.
        prompt = {**prompt, name: numbered if len(numbered) == len(rows) else rows}
    return prompt


def _prompt_values(values: Any, where: str) -> Any:
    return _with_bar_numbers(prompt_values(values, TrackPrompt, where))


def _request_values(values: Any, kind: type) -> Any:
    if not isinstance(values, Mapping):
        return values
    # Prompts and configuration first: they have rules of their own for numbers.
    inner: dict[str, Any] = {}
    tracks = values.get("tracks")
    if isinstance(tracks, list | tuple):
        inner["tracks"] = [_prompt_values(one, f"request.tracks[{index}]") for index, one in enumerate(tracks)]
    if "config" in values:
        inner["config"] = config_values(values["config"], InferenceConfig, "request.config")
    return record_values(values, kind, "request") | inner


@says_the_field("config")
@frozen(kw_only=True)
class InferenceConfig:
    """How to generate. ``"auto"`` (or 0) lets the planner choose."""

    #: Divides the logits before sampling; 0 takes the most probable token.
    temperature: float = number(1.0, 0, 100)
    #: Keep only so many of the most probable tokens; 0: all.
    top_k: int = number(0, 0, _LARGEST)
    #: Keep the smallest set of most probable tokens whose probabilities reach this sum; 1: all.
    top_p: float = number(1.0, 0, 1, above=True)
    #: Remove so many of the most probable tokens (one always stays); 0: none.
    mask_k: int = number(0, 0, _LARGEST)
    #: Remove most probable tokens until their probabilities reach this sum (one always stays); 0: none.
    mask_p: float = number(0.0, 0, 1, below=True)
    #: The same seed and request give the same music; -1: a fresh seed, which the session then reports.
    seed: int = number(-1, -1, 2**63 - 1)

    #: Window in bars, one that the model was trained on. ``auto``: the widest that the piece fills.
    model_dim: int | Auto = number("auto", 0, _MOST_BARS)
    #: Another name for :attr:`model_dim`.
    window_bars: int | Auto = number("auto", 0, _MOST_BARS)
    #: Bars that one step writes. ``auto``: autoregressive steps keep ``ar_overlap`` of the window as history; infill
    #: steps write all that is asked for within a window, and where that would be the whole of it, or more, as much.
    bars_per_step: int | Auto = number("auto", 0, _MOST_BARS)
    #: Infill tracks that one step writes. ``auto``: all, or as many as the model saw at once.
    tracks_per_step: int | Auto = number("auto", 0, _LARGEST)
    #: Share of an autoregressive window that is history when ``bars_per_step`` is ``auto``.
    ar_overlap: float = number(0.5, 0, 1, below=True)
    #: Least bars of history in an autoregressive window, where the track has them.
    min_overlap_bars: int = number(2, 0, _LARGEST)
    #: Carry out the infill steps in a random order, which the seed gives: steps see what earlier ones wrote.
    shuffle: bool = False
    #: Write only a random share of the infill bars, at least one, which the seed gives; the others are context. All
    #: candidates have the same bars and order: those of the request's seed.
    infill_probability: float = number(1.0, 0, 1, above=True)
    #: Plan and validate only: :meth:`midigpt_core.inference.SamplingSession.run` returns the score as it is.
    plan_only: bool = False

    #: How bars are masked that are neither context nor to be written.
    mask_mode: MaskMode = "auto"
    #: Which context tracks a step leaves out that does not fit the model, or has more tracks than it ever saw.
    context: ContextPolicy = "auto"
    #: Tracks to leave out first, in this order.
    context_drop: Sequence[int] = places("track")
    #: Tracks that are never left out.
    context_keep: Sequence[int] = places("track")
    #: Factor on the estimated number of tokens that a step writes.
    budget_margin: float = number(1.25, 1, 100)

    #: Variations that :meth:`midigpt_core.inference.SamplingSession.run_variations` returns.
    num_candidates: int = number(1, 1, 1024)
    #: At most so many notes sound at once in a written bar; 0: no limit.
    polyphony_hard_limit: int = number(0, 0, _LARGEST)
    #: At most so many notes in a written bar; 0: no limit.
    density_hard_limit: int = number(0, 0, _LARGEST)
    #: The most attempts of a step until it passes the checks below. The last attempt is used in any case.
    max_attempts: int = number(3, 1, 1000)
    #: Without effect: attempts of all steps that fail are repeated together in any case.
    batch_attempts: bool = False
    #: Try again if at least ``novelty_threshold`` of what was written was there before.
    novelty_check: bool = True
    novelty_threshold: float = number(1.0, 0, 1, above=True)
    #: Try again if a written bar of at least four notes is one of the engine's ``known_bars``, exactly or transposed.
    novel: bool = False
    #: Try again if a step wrote no note at all.
    silence_check: bool = True
    #: Factor on the temperature from attempt to attempt.
    temperature_escalation: float = number(1.0, 0.01, 100)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InferenceConfig:
        """From plain values (JSON), as midigpt 0.4.2 reads them (:mod:`midigpt_core.inference.plain`): a key that there
        is not is ignored, with a warning. Raises :class:`~midigpt_core.inference.RequestValidationError` (a
        ConfigError) naming every value of another type."""
        return from_plain(config_values(values, cls, "config"), cls, "config")

    def __attrs_post_init__(self) -> None:
        for one, other in (("model_dim", "window_bars"), ("window_bars", "model_dim")):
            value, named = getattr(self, one), getattr(self, other)
            if isinstance(value, str) and value == "auto" and isinstance(named, int):
                object.__setattr__(self, one, named)


@says_the_field("track")
@frozen(kw_only=True)
class TrackPrompt:
    """What is asked of one track. A track without a prompt is context."""

    #: The track's index in the score.
    id: int = field(converter=integer, metadata={"places": "track"})
    #: Bars to write.
    bars: Sequence[int] = places("bar")
    #: Write ``bars`` one after another, after what the track has before them, instead of filling them in.
    autoregressive: bool = False
    #: Leave the track out of what the model sees; it comes back unchanged.
    ignore: bool = False
    #: Bars that the model must not see.
    mask_bars: Sequence[int] = places("bar")
    #: Attribute controls of the track, name -> level.
    attributes: Mapping[str, int] = field(factory=dict, converter=integers_within)
    #: Attribute controls of bars: bar -> name -> level. ``bar_`` at the start of a name may be left out.
    bar_attributes: Mapping[int, Mapping[str, int]] = field(
        factory=dict, converter=integers_within, metadata={"places": "bar"}
    )
    #: ``pitch_mask``, ``rhythm_mask``, ``remix`` (docs/generation.md), and ``time_signature``: ``"3/4"``, or an index
    #: into the encoder's list. For all of ``bars``.
    controls: Mapping[str, Any] = field(factory=dict, converter=integers_within)
    #: Controls of single bars among ``bars``, which replace those of the track: bar -> name -> value.
    bar_controls: Mapping[int, Mapping[str, Any] | None] = field(
        factory=dict, converter=integers_within, metadata={"places": "bar"}
    )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrackPrompt:
        """As :meth:`InferenceConfig.from_dict`. Bars as keys may be text, as JSON has them."""
        return from_plain(_prompt_values(values, "track"), cls, "track")


@says_the_field("request")
@frozen
class GenerationRequest:
    """Per-track prompts, the configuration, and controls of the whole piece."""

    tracks: Sequence[TrackPrompt] = field(converter=listed)
    config: InferenceConfig = field(factory=InferenceConfig)
    #: ``genre``: a name that the encoder knows; ``velocity``, ``microtiming``: whether to write them.
    controls: Mapping[str, Any] = field(factory=dict, converter=integers_within)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationRequest:
        """As :meth:`InferenceConfig.from_dict`."""
        return from_plain(_request_values(values, cls), cls, "request")

    def with_config(self, **changes: Any) -> GenerationRequest:
        """The same request with other values in its configuration."""
        return evolve(self, config=evolve(self.config, **changes))
