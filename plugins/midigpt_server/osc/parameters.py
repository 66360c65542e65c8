"""The parameters of a session over OSC, with the defaults and ranges of midigpt 0.4.2."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from attrs import frozen

from midigpt_core.config.wording import spell
from midigpt_core.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

MASK_MODES = ("token", "attention", "attention_approx", "attention_skip", "remove", "auto")
WARMUP_POLICIES = ("a_empty", "a_masked", "b", "b_collapse")


@frozen
class _Number:
    default: float
    low: float
    high: float
    whole: bool = False

    def read(self, value: Any) -> float:
        """Raises ValueError with what is accepted."""
        kind = "a whole number" if self.whole else "a number"
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or (self.whole and value != int(value)) or not self.low <= value <= self.high:
            raise ValueError(f"Choose {kind} from {self.low:g} to {self.high:g}")
        return int(value) if self.whole else float(value)


@frozen
class _Truth:
    default: bool

    def read(self, value: Any) -> bool:
        if not isinstance(value, bool | int | float):
            raise ValueError("Choose 1 or 0")
        return bool(value)


@frozen
class _Word:
    default: str
    words: tuple[str, ...]

    def read(self, value: Any) -> str:
        if value not in self.words:
            raise ValueError(f"Choose one of {', '.join(self.words)}")
        return str(value)


_LARGEST = 2**31 - 1
_JUST_BELOW_1 = math.nextafter(1, 0)
PARAMETERS: Mapping[str, _Number | _Truth | _Word] = {
    #: Bars between the one that sounds and the one that is written.
    "lookahead_bars": _Number(1, 1, 8, whole=True),
    #: Closed bars before the first is written.
    "buffer_bars": _Number(4, 2, 64, whole=True),
    #: Bars that are written at once.
    "num_anticipated_bars": _Number(1, 1, 8, whole=True),
    #: Window of the model in bars.
    "model_dim": _Number(8, 1, 16, whole=True),
    #: Whether the first bar is written so early that ``buffer_bars`` are complete when it sounds.
    "adapt_buffer": _Truth(True),
    "warmup_policy": _Word("a_empty", WARMUP_POLICIES),
    #: Seconds; 0: no limit.
    "gen_timeout": _Number(0, 0, 3600),
    "temperature": _Number(1, 0.1, 5),
    "top_p": _Number(1, math.nextafter(0, 1), 1),
    "top_k": _Number(0, 0, _LARGEST, whole=True),
    "mask_p": _Number(0, 0, _JUST_BELOW_1),
    "mask_k": _Number(0, 0, _LARGEST, whole=True),
    "temperature_escalation": _Number(1, 1, 3),
    "novelty_check": _Truth(True),
    "silence_check": _Truth(True),
    "sampling_seed": _Number(-1, -1, _LARGEST, whole=True),
    "max_attempts": _Number(3, 1, 10, whole=True),
    # As in 0.4.2; where the vocabulary has no token for it, bars are masked by attention.
    "mask_mode": _Word("token", MASK_MODES),
    "polyphony_hard_limit": _Number(0, 0, _LARGEST, whole=True),
    "density_hard_limit": _Number(0, 0, _LARGEST, whole=True),
}


class Parameters:
    """The values of a session."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        #: Hold until a generation ends.
        self._once: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return {**self._values, **self._once}.get(name, PARAMETERS[name].default)

    def is_default(self, name: str) -> bool:
        """Whether nobody has set it."""
        return name not in self._values and name not in self._once

    def set(self, name: Any, value: Any, *, once: bool = False) -> None:
        """Raises ConfigError naming the parameter."""
        parameter = self._named(name)
        try:
            read = parameter.read(value)
        except ValueError as error:
            raise ConfigError(f"parameter {name!r} is {spell(value)}. {error}.") from error
        (self._once if once else self._values)[name] = read

    def reset(self, name: Any) -> None:
        self._named(name)
        self._values.pop(name, None)
        self._once.pop(name, None)

    def reset_all(self) -> None:
        self._values.clear()
        self._once.clear()

    def end_once(self) -> None:
        """A generation has ended."""
        self._once.clear()

    def _named(self, name: Any) -> _Number | _Truth | _Word:
        if not isinstance(name, str) or name not in PARAMETERS:
            raise ConfigError(f"there is no parameter {spell(name)}.{nearest(str(name), PARAMETERS)}")
        return PARAMETERS[name]
