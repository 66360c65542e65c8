"""Fine-tuning: a run that starts from a bundle takes over its encoder and model sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from midigpt_core import checkpoint, terminal
from midigpt_core.checkpoint.assemble import infill_positions
from midigpt_core.checkpoint.provenance import data_sources
from midigpt_core.config import TrainConfig
from midigpt_core.config.packaged import preset_names
from midigpt_core.errors import CheckpointError, ConfigError
from midigpt_core.paths import usable_path
from midigpt_core.terminal import printable
from midigpt_core.training.planning.chosen import build_encoder, choose_encoder
from midigpt_core.training.planning.positions import numbered
from midigpt_core.training.planning.recorded import is_free
from midigpt_core.training.planning.resume import require_same

if TYPE_CHECKING:
    from pathlib import Path

    from midigpt_core.components import ComponentRef
    from midigpt_core.contracts import BundleHeader
    from midigpt_core.plugins import Registry

_log = terminal.logger("midigpt_core.training")


@frozen(kw_only=True, eq=False)
class Base:
    """The bundle that a run starts from."""

    #: What people call it: its file's name, or its name on the Hub.
    name: str
    path: Path
    header: BundleHeader
    #: The hash of its weights, once they are read (:func:`midigpt_core.checkpoint.adapters.weights_hash`).
    weights: str = ""

    def record(self) -> dict[str, Any]:
        """What the run's bundles record of it."""
        return {"name": self.name, "weights": self.weights, "sources": data_sources(self.header.provenance)}


def base_of(config: TrainConfig) -> Base | None:
    """The bundle that ``init_from`` names; None if the run starts with new weights.

    Raises :class:`midigpt_core.errors.CheckpointError` for one that cannot be used.
    """
    if not config.init_from:
        return None
    path = usable_path(config.init_from, what="init_from", error=CheckpointError)
    return Base(name=path.name, path=path, header=checkpoint.read_header(path))


def adopt(config: TrainConfig, base: Base, registry: Registry) -> ComponentRef:
    """Copy the model sizes of ``base`` into ``config``; returns the bundle's encoder.

    Raises :class:`midigpt_core.errors.ConfigError` if a size was set to another value, and
    :class:`midigpt_core.errors.CheckpointError` if a field of the encoder was.
    """
    header = base.header
    _adopt_sizes(config, header)
    _adopt_rates(config)
    bundled = checkpoint.encoder_ref(header)
    positions = infill_positions(header)
    if "infill_positions" in config.set_fields and config.infill_positions != positions:
        raise ConfigError(
            f"infill_positions: is {config.infill_positions!r}, but {printable(positions)!r} in {config.init_from}. "
            "Leave it out to take the bundle's."
        )
    # What a packaged configuration sets gives way to the bundle.
    if not (is_free(config, "encoder") and is_free(config, "encoder_config_path")):
        _, wanted = numbered(choose_encoder(config, registry), positions)
        require_same(
            wanted.to_config(),
            dict(build_encoder(bundled).to_config()),
            f"{config.init_from}: its encoder differs",
            "Leave encoder and encoder_config_path out to take the bundle's.",
        )
    return bundled


def _adopt_rates(config: TrainConfig) -> None:
    """Rates of a packaged configuration are for weights that start at random; trained ones take the defaults."""
    defaults = TrainConfig()
    for name in ("learning_rate", "muon_learning_rate"):
        if config.origins[name] in preset_names():
            config.update({name: getattr(defaults, name)}, f"init_from {config.init_from}")


def inherited_sources(base: Base | None) -> list[str]:
    """The data sources of ``base``, whose licences apply to the new weights too; empty without one."""
    return data_sources(base.header.provenance) if base is not None else []


def _adopt_sizes(config: TrainConfig, header: BundleHeader) -> None:
    origin = f"init_from {config.init_from}"
    chosen = config.choice("architecture")["name"]
    if chosen.rpartition("/")[2] != header.architecture:
        if not is_free(config, "architecture"):
            raise ConfigError(
                f"architecture: is {chosen!r}, but {config.init_from} contains a {header.architecture!r} model."
                " Leave architecture out, or start from another bundle."
            )
        config.update({"architecture": header.architecture}, origin)
    known = config.to_dict()
    sizes = {name: value for name, value in header.architecture_config.items() if name in known}
    for name, value in sizes.items():
        if not is_free(config, name) and known[name] != value:
            raise ConfigError(
                f"{name}: is {known[name]}, but {value} in {config.init_from}. Leave it out to take the bundle's."
            )
    config.update(sizes, origin)
    if config.max_seq_len > config.n_positions and is_free(config, "max_seq_len"):
        _log.warning("max_seq_len is %d, the longest that the model of init_from can take.", config.n_positions)
        config.update({"max_seq_len": config.n_positions}, origin)
