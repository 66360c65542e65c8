"""Fine-tuning: a run that starts from a bundle takes over its encoder and model sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from midigpt_core import checkpoint, terminal
from midigpt_core.checkpoint.assemble import infill_positions
from midigpt_core.checkpoint.hub import bundle_path
from midigpt_core.checkpoint.licences import licence_of
from midigpt_core.checkpoint.plain import mapping_or_empty
from midigpt_core.checkpoint.provenance import data_sources
from midigpt_core.config import TrainConfig
from midigpt_core.config.packaged import preset_names
from midigpt_core.errors import CheckpointError, ConfigError
from midigpt_core.kinds import Kind
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

#: Settings of windows that a model is used to.
_WINDOWS = (
    "num_bars_choices",
    "min_tracks",
    "max_tracks",
    "max_seq_len",
    "infill_probability",
    "infill_bar_fraction",
    "infill_track_probability",
    "mask_apply_probability",
)

#: The peak rate of AdamW times the width of the model. A rate that suits one width suits another in inverse proportion:
#: Yang et al., "Tensor Programs V", arXiv 2203.03466, table 3. The products are measured (docs/personal.md).
_RATE_TIMES_WIDTH = {"adapter": 0.64, "weights": 0.16}
#: Narrower models were not measured, and do not get a higher rate.
_NARROWEST = 160

_log = terminal.logger("midigpt_core.training")


@frozen(kw_only=True, eq=False)
class Base:
    """The bundle that a run starts from."""

    #: What people call it: its file's name, or its name on the Hub.
    name: str
    path: Path
    header: BundleHeader
    #: Of its weights, as far as it is stated.
    licence: str | None
    #: The hash of its weights, once they are read (:func:`midigpt_core.checkpoint.adapters.weights_hash`).
    weights: str = ""

    def record(self) -> dict[str, Any]:
        """What the run's bundles record of it."""
        licence = {} if self.licence is None else {"licence": self.licence}
        sources = data_sources(self.header.provenance)
        return {"name": self.name, "weights": self.weights, "sources": sources, **licence}

    def line(self) -> str:
        """What people should know of it before they train, in one line."""
        licence = self.licence or "not stated; find it out before you share what is trained from it"
        sources = ", ".join(printable(name, 40) for name in data_sources(self.header.provenance))
        return f"base: {printable(self.name)}, trained on data of {sources}; licence: {licence}"


def base_of(config: TrainConfig) -> Base | None:
    """The bundle that ``init_from`` names; None if the run starts with new weights.

    Raises :class:`midigpt_core.errors.CheckpointError` for one that cannot be used.
    """
    if not config.init_from:
        return None
    usable_path(config.init_from, what="init_from", error=CheckpointError)
    path = bundle_path(config.init_from)
    header = checkpoint.read_header(path)
    is_here = path == usable_path(config.init_from)
    name = path.resolve().name if is_here else config.init_from
    return Base(name=name, path=path, header=header, licence=licence_of(path, header.provenance))


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


def adopt_windows(config: TrainConfig, base: Base) -> None:
    """Copy how the windows of ``base`` were drawn into ``config``, as far as it says so and nothing else was set.

    Raises :class:`midigpt_core.errors.ConfigError` for values that a run cannot have.
    """
    stored = mapping_or_empty(base.header.provenance.get("stream"))
    values = {name: stored[name] for name in _WINDOWS if name in stored and is_free(config, name)}
    config.update(values, f"init_from {config.init_from}")


def adopt_rate(config: TrainConfig, base: Base) -> str:
    """Choose the learning rate of AdamW by the width of ``base``, if neither a flag nor a file set it.

    Returns the line that says so; empty if nothing was chosen.
    """
    width = base.header.architecture_config.get("n_embd")
    by_adamw = _chosen_name(config, Kind.OPTIMIZER) == "adamw"
    if not (isinstance(width, int) and width > 0 and by_adamw and is_free(config, "learning_rate")):
        return ""
    trained = "weights" if _chosen_name(config, Kind.ADAPTER) == "none" else "adapter"
    rate = float(f"{_RATE_TIMES_WIDTH[trained] / max(width, _NARROWEST):.2g}")
    config.update({"learning_rate": rate}, f"init_from {config.init_from}")
    what = "all weights" if trained == "weights" else "an adapter"
    return f"learning_rate {rate:g}, for {what} of a model that is {width:,} wide  (--set learning_rate=X)"


def _adopt_rates(config: TrainConfig) -> None:
    """Rates of a packaged configuration are for weights that start at random, as an adapter's do; trained ones take the
    defaults."""
    if _chosen_name(config, Kind.ADAPTER) != "none":
        return
    defaults = TrainConfig()
    for name in ("learning_rate", "muon_learning_rate"):
        if config.origins[name] in preset_names():
            config.update({name: getattr(defaults, name)}, f"init_from {config.init_from}")


def _chosen_name(config: TrainConfig, kind: Kind) -> str:
    """The name of a chosen component without its distribution's: ``midigpt-core/adamw`` is ``adamw``."""
    return str(config.choice(kind)["name"]).rpartition("/")[2]


def inherited_sources(base: Base | None) -> list[str]:
    """The data sources of ``base``, whose licences apply to the new weights too; empty without one."""
    return data_sources(base.header.provenance) if base is not None else []


def _adopt_sizes(config: TrainConfig, header: BundleHeader) -> None:
    origin = f"init_from {config.init_from}"
    chosen = config.choice("architecture")["name"]
    if _chosen_name(config, Kind.ARCHITECTURE) != header.architecture:
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
