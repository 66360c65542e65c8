"""Decides how a run numbers filled bars: by the setting, by what the run starts from, or by what is supported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from midigpt_core.errors import ConfigError
from midigpt_core.kinds import Kind
from midigpt_core.records import PLACEHOLDER, SEQUENCE
from midigpt_core.training.planning.chosen import build_encoder

if TYPE_CHECKING:
    from midigpt_core.components import ComponentRef
    from midigpt_core.config import TrainConfig
    from midigpt_core.contracts import Encoder
    from midigpt_core.plugins import Registry
    from midigpt_core.training.planning.chosen import Chosen

_FIELD = "infill_positions"
#: The origin of the setting if the bundle or checkpoint that the run starts from decides it.
_START = "what the run starts from"


def settle_positions(
    config: TrainConfig, chosen: Chosen, registry: Registry, *, kept: str | None
) -> tuple[Chosen, Encoder]:
    """The components with an encoder that numbers filled bars as the run needs, and that encoder.

    The setting is written into ``config``. ``kept`` is its value in the bundle or checkpoint that the run starts from.

    The default yields to the encoder's configuration, and to what encoder and architecture support. Raises
    :class:`ConfigError` if the user has chosen a value that they do not support.
    """
    asked = config.origins[_FIELD] not in ("default", _START)
    wanted = config.infill_positions if asked or kept is None else kept
    able = _takes_positions(chosen.architecture, registry)
    if not able and not asked:
        wanted = SEQUENCE
    ref, encoder = numbered(chosen.encoder, wanted)
    given = encoder.infill_positions
    if asked and given != wanted:
        raise ConfigError(
            f"{_FIELD}: is {wanted!r}, but encoder {chosen.encoder.name!r} as it is configured has {given!r}. "
            f"Set it to {given!r}, or configure the encoder otherwise."
        )
    if given == PLACEHOLDER and not able:
        raise ConfigError(
            f"{_FIELD}: architecture {chosen.architecture.name!r} does not provide {PLACEHOLDER!r}. Set it to "
            f"{SEQUENCE!r}, or choose another architecture."
        )
    if given != config.infill_positions:
        config.update({_FIELD: given}, _START if kept is not None else f"encoder {ref.name}")
    return attrs.evolve(chosen, encoder=ref), encoder


def numbered(ref: ComponentRef, setting: str) -> tuple[ComponentRef, Encoder]:
    """An encoder that numbers filled bars by ``setting`` where its configuration does not say and it can."""
    encoder = build_encoder(ref)
    if setting in (encoder.infill_positions, SEQUENCE) or "placeholder_positions" not in encoder.provides:
        return ref, encoder
    ref = attrs.evolve(ref, options={_FIELD: setting, **ref.options})
    return ref, build_encoder(ref)


def _takes_positions(architecture: ComponentRef, registry: Registry) -> bool:
    spec = registry.find(Kind.ARCHITECTURE, f"{architecture.plugin}/{architecture.name}").spec
    return "placeholder_positions" in spec.provides
