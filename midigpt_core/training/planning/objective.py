"""Adapts the objective of the configuration to what the encoder supports.

Settings that are on by default (``infill_probability``, ``mask_apply_probability``, ``num_bars_choices``) are adapted:
with a message at debug level, or with a warning if the user set them. Settings that are off by default raise an error.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from attrs import evolve

from midigpt_core import terminal
from midigpt_core.config import TrainConfig
from midigpt_core.contracts import EncoderContext
from midigpt_core.data.settings import StreamSettings
from midigpt_core.errors import ConfigError, PluginError
from midigpt_core.plugins.building import build
from midigpt_core.printable import printable

if TYPE_CHECKING:
    from midigpt_core.components import ComponentRef
    from midigpt_core.contracts import Encoder
    from midigpt_core.plugins import Registry
    from midigpt_core.training.planning.chosen import Chosen

_log = terminal.logger("midigpt_core.training")

#: Probability -> the capability without which it must be 0.
_SWITCHES = {
    "infill_probability": "infill",
    "infill_track_probability": "infill",
    "velocity_off_probability": "use_velocity",
    "microtiming_off_probability": "use_microtiming",
}


def stream_settings(config: TrainConfig, encoder: Encoder) -> StreamSettings:
    """The settings of the token stream. Raises :class:`ConfigError` for a setting that is off by default, was switched
    on, and is not supported by the encoder."""
    if missing := [f"{one.name} of {one.missing}" for one in encoder.attributes if one.missing]:
        raise PluginError(
            f"the encoder has attribute controls whose plugins are not installed: {printable(', '.join(missing))}. "
            "Install them to train with this encoder."
        )
    changes: dict[str, Any] = {"num_bars_choices": _window_sizes(config, encoder)}
    for name, capability in _SWITCHES.items():
        if getattr(config, name) > 0 and capability not in encoder.provides:
            _give_way(config, name, f"the encoder does not provide {capability!r}")
            changes[name] = 0.0
    for name in ("attributes_off_probability", "attribute_dropout"):
        if getattr(config, name) > 0 and not encoder.vocabulary.attributes:
            _give_way(config, name, "the encoder has no attributes")
    return evolve(StreamSettings.from_config(config), **changes)


def usable_mask(config: TrainConfig, chosen: Chosen, encoder: Encoder, registry: Registry) -> ComponentRef | None:
    """The mask, or None if nothing is masked.

    Raises :class:`midigpt_core.errors.PluginError` if the user set a mask that needs what the encoder does not provide.
    """
    if config.mask_apply_probability == 0:
        return None
    missing = registry.find("mask", f"{chosen.mask.plugin}/{chosen.mask.name}").spec.requires - encoder.provides
    if not missing:
        return chosen.mask
    if "mask" in config.set_fields:
        try:
            registry.check_requires(chosen.mask, chosen.encoder, encoder.provides)
        except PluginError as error:
            raise PluginError(f"{error}{_presets_with(missing, chosen.encoder, registry)}") from error
    if missing == {"mask_bar"}:
        reason = "the encoder has no MaskBar token (capability 'mask_bar')"
    else:
        reason = f"the encoder does not provide {', '.join(map(repr, sorted(missing)))}"
    _give_way(config, "mask_apply_probability", reason)
    return None


def _presets_with(capabilities: frozenset[str], encoder: ComponentRef, registry: Registry) -> str:
    """A sentence that names the presets of an encoder that provide ``capabilities``; empty if none does."""
    item = registry.find("encoder", f"{encoder.plugin}/{encoder.name}")
    presets: tuple[str, ...] = getattr(item.spec, "presets", ())
    able = [name for name in presets if capabilities <= build(item.ref({"config": name}), EncoderContext()).provides]
    return f" Choose an encoder that does: --encoder-config {' or '.join(able)}." if able else ""


def _window_sizes(config: TrainConfig, encoder: Encoder) -> tuple[int, ...]:
    wanted, allowed = config.num_bars_choices, encoder.window_sizes
    foreign = [size for size in wanted if allowed and size not in allowed]
    if not foreign:
        return tuple(wanted)
    sizes = ", ".join(map(str, allowed))
    if "num_bars_choices" in config.set_fields and wanted != TrainConfig().num_bars_choices:
        raise ConfigError(
            f"num_bars_choices: {foreign[0]} is not a window size of the encoder (num_bars_map: {sizes})."
            f" Choose among {sizes}."
        )
    kept = tuple(size for size in wanted if size in allowed) or tuple(allowed)
    _say(config, "num_bars_choices", f"is {list(kept)}: the encoder's window sizes are {sizes}.")
    return kept


def _give_way(config: TrainConfig, name: str, reason: str) -> None:
    """Report that the probability ``name`` is 0 here. Raises :class:`ConfigError` if 0 is the default."""
    value = getattr(config, name)
    if not getattr(TrainConfig(), name):
        raise ConfigError(f"{name}: is {value:g}, but {reason}. Set it to 0 or choose another encoder.")
    _say(config, name, f"is 0 instead of {value:g}: {reason}.")


def _say(config: TrainConfig, name: str, what: str) -> None:
    _log.log(logging.WARNING if name in config.set_fields else logging.DEBUG, "%s %s", name, what)
