"""How a run numbers the bars that it fills in: as it was told, as what it starts from has it, or as well as it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from midigpt_core.checkpoint.torch_archive import open_archive
from midigpt_core.errors import CheckpointError, ConfigError
from midigpt_core.kinds import Kind
from midigpt_core.records import PLACEHOLDER, SEQUENCE
from midigpt_core.training.planning.chosen import build_encoder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from midigpt_core.components import ComponentRef
    from midigpt_core.config import TrainConfig
    from midigpt_core.contracts import Encoder
    from midigpt_core.plugins import Registry
    from midigpt_core.training.planning.chosen import Chosen

_FIELD = "infill_positions"


def settle_positions(
    config: TrainConfig, chosen: Chosen, registry: Registry, *, kept: str | None
) -> tuple[Chosen, Encoder]:
    """The components with an encoder that numbers filled bars as the run is to, that encoder, and the setting written
    into ``config``. ``kept`` is how the bundle or checkpoint has it that the run starts from.

    The default gives way to what an encoder's configuration says, and to what encoder and architecture can do. Raises
    :class:`ConfigError` where the setting was set to what they cannot.
    """
    asked = _FIELD in config.set_fields
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
        config.update({_FIELD: given}, "what the run starts from" if kept is not None else f"encoder {ref.name}")
    return attrs.evolve(chosen, encoder=ref), encoder


def numbered(ref: ComponentRef, setting: str) -> tuple[ComponentRef, Encoder]:
    """An encoder that numbers filled bars by ``setting`` where its configuration does not say and it can."""
    encoder = build_encoder(ref)
    if setting in (encoder.infill_positions, SEQUENCE) or "placeholder_positions" not in encoder.provides:
        return ref, encoder
    ref = attrs.evolve(ref, options={_FIELD: setting, **ref.options})
    return ref, build_encoder(ref)


def positions_of_run(checkpoints: Iterable[Path]) -> str | None:
    """The setting of the first of ``checkpoints`` that says which it had; None if none does. torch takes no part."""
    for path in checkpoints:
        try:
            with open_archive(path) as archive:
                content: Any = archive.describe()
        except (CheckpointError, OSError):
            continue  # a damaged one, or none: where checkpoints are read, that is said
        match content:
            case {"midigpt": {"model": {"encoder_config": dict() as stored}}}:
                return str(stored.get(_FIELD, SEQUENCE))
    return None


def _takes_positions(architecture: ComponentRef, registry: Registry) -> bool:
    spec = registry.find(Kind.ARCHITECTURE, f"{architecture.plugin}/{architecture.name}").spec
    return "placeholder_positions" in spec.provides
