"""Requests as plain values, in the form of the public package midigpt 0.4.2.

What its readers accept is accepted: unknown keys are left out, 1.0 is 1, any seed below 0 and None is a fresh one, and
where true or false belongs, any value counts as Python counts it, text other than "" as true.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import attrs

from midigpt_core.config.wording import MOST_LISTED, key_name
from midigpt_core.errors import nearest
from midigpt_core.terminal import logger

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = logger(__name__)
#: Values below 0 mean the same as 0.
_FROM_ZERO = (
    "model_dim", "window_bars", "bars_per_step", "tracks_per_step", "polyphony_hard_limit", "density_hard_limit",
)  # fmt: skip
_GRID = ("unit", "strength")
_LARGEST_WHOLE = 2**53
#: What JSON is made of.
_JSON = (int, float, str, list, dict, type(None))


def record_values(values: Any, kind: type, where: str) -> Any:
    """The plain values of the attrs class ``kind``; other values than mappings are returned unchanged.

    Keys that the class does not have are left out, and a warning names them with the nearest key that it has.
    """
    if not isinstance(values, Mapping):
        return values
    fields = attrs.fields_dict(cast("Any", kind))
    _warn([name for name in values if name not in fields], fields, where)
    known = {name: whole_numbers(value) for name, value in values.items() if name in fields}
    for name, value in known.items():
        # An annotation is text where annotations are postponed.
        if fields[name].type in (bool, "bool") and isinstance(value, _JSON):
            known[name] = bool(value)
    return known


def config_values(values: Any, kind: type, where: str) -> Any:
    """As :func:`record_values`, for the configuration."""
    known = record_values(values, kind, where)
    if not isinstance(known, dict):
        return known
    for name in _FROM_ZERO:
        if name in known and _is_below_zero(known[name]):
            known[name] = 0
    if "seed" in known and (known["seed"] is None or _is_below_zero(known["seed"])):
        known["seed"] = -1
    return known


def prompt_values(values: Any, kind: type, where: str) -> Any:
    """As :func:`record_values`, for the prompt of a track. Further keys of a rhythm's grid are left out too."""
    known = record_values(values, kind, where)
    if not isinstance(known, dict):
        return known
    if "controls" in known:
        known["controls"] = _with_plain_grid(known["controls"])
    if isinstance(known.get("bar_controls"), Mapping):
        known["bar_controls"] = {bar: _with_plain_grid(of_bar) for bar, of_bar in known["bar_controls"].items()}
    return known


def whole_numbers(value: Any, depth: int = 8) -> Any:
    """``value`` with every float that is whole as an int, in lists and mappings so many levels deep: no request is
    deeper."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_WHOLE:
        return int(value)
    if depth and isinstance(value, Mapping):
        return {key: whole_numbers(one, depth - 1) for key, one in value.items()}
    if depth and isinstance(value, list | tuple):
        return [whole_numbers(one, depth - 1) for one in value]
    return value


def _is_below_zero(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value < 0


def _with_plain_grid(controls: Any) -> Any:
    rhythm = controls.get("rhythm_mask") if isinstance(controls, Mapping) else None
    grid = rhythm.get("grid") if isinstance(rhythm, Mapping) else None
    if rhythm is None or not isinstance(grid, Mapping):
        return controls
    return {**controls, "rhythm_mask": {**rhythm, "grid": {name: grid[name] for name in _GRID if name in grid}}}


def _warn(unknown: list[Any], names: Iterable[str], where: str) -> None:
    for name in unknown[:MOST_LISTED]:
        key = key_name(name)
        _log.warning("%s.%s is ignored: there is no such option.%s", where, key, nearest(key, names))
    if len(unknown) > MOST_LISTED:
        _log.warning("%s: %d more unknown options are ignored.", where, len(unknown) - MOST_LISTED)
