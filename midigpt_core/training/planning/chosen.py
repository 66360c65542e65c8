"""Chooses the components of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from midigpt_core import checkpoint
from midigpt_core.components import CheckpointFormatSpec
from midigpt_core.config.overrides import require_none
from midigpt_core.config.train import FSDP
from midigpt_core.contracts import EncoderContext
from midigpt_core.corpus.detection import detect_source
from midigpt_core.errors import ConfigError
from midigpt_core.kinds import RUN_KINDS, Kind
from midigpt_core.plugins import build, structure_options
from midigpt_core.plugins.choices import resolve_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.components import ComponentRef
    from midigpt_core.config import TrainConfig
    from midigpt_core.contracts import BundleHeader, Encoder
    from midigpt_core.plugins import Registry


#: The origin of a source that was detected from the paths of the training data.
DETECTED = "the training data"


@frozen(kw_only=True)
class Chosen:
    """The components of a run: resolved, not yet built."""

    source: ComponentRef
    encoder: ComponentRef
    mask: ComponentRef
    architecture: ComponentRef
    optimizer: ComponentRef
    logger: ComponentRef
    checkpoint_format: ComponentRef
    adapter: ComponentRef
    #: Suffix of the bundles that are written.
    bundle_suffix: str

    @property
    def all(self) -> tuple[ComponentRef, ...]:
        return tuple(getattr(self, kind.setting) for kind in RUN_KINDS)


def choose(config: TrainConfig, registry: Registry, *, encoder: ComponentRef | None = None) -> Chosen:
    """Resolve every component's name and check its options; ``encoder`` replaces the configuration's.

    Raises :class:`midigpt_core.errors.MidigptError` for names that cannot be resolved and invalid options: one error
    lists all of them.
    """
    refs = _resolved(config, registry, with_encoder=encoder is None)
    architecture = registry.find(Kind.ARCHITECTURE, _qualified(refs[Kind.ARCHITECTURE])).spec
    if config.gradient_checkpointing and "gradient_checkpointing" not in architecture.provides:
        raise ConfigError(
            f"gradient_checkpointing: architecture {architecture.name!r} does not provide it. Switch it off."
        )
    written = registry.find(Kind.CHECKPOINT_FORMAT, _qualified(refs[Kind.CHECKPOINT_FORMAT])).spec
    if not isinstance(written, CheckpointFormatSpec) or not written.can_save:
        raise ConfigError(
            f"checkpoint_format: {written.name!r} can only be read. Choose one that can be written, e.g. 'pt'."
        )
    return Chosen(
        source=refs[Kind.SOURCE],
        encoder=encoder or choose_encoder(config, registry),
        mask=refs[Kind.MASK],
        architecture=refs[Kind.ARCHITECTURE],
        optimizer=choose_optimizer(config, registry),
        logger=refs[Kind.LOGGER],
        checkpoint_format=refs[Kind.CHECKPOINT_FORMAT],
        adapter=refs[Kind.ADAPTER],
        bundle_suffix=written.suffixes[0] if written.suffixes else "",
    )


def _resolved(config: TrainConfig, registry: Registry, *, with_encoder: bool) -> dict[Kind, ComponentRef]:
    """The components of all kinds that the configuration names, their options checked."""
    kinds = [kind for kind in RUN_KINDS if kind is not Kind.ENCODER or (with_encoder and not config.init_from)]
    refs, problems = resolve_all(registry, {kind: config.choice(kind) for kind in kinds})
    if len(problems) == 1:
        raise problems[0]
    require_none([str(problem) for problem in problems])
    return refs


def settle_source(config: TrainConfig, registry: Registry, paths: Sequence[str]) -> None:
    """Write into ``config`` the data source that reads ``paths``, unless a source was named. Options that were set
    without a name (``source.where``) are options of that source.

    Raises :class:`midigpt_core.errors.DataError` for paths that no single source reads.
    """
    field = Kind.SOURCE.setting
    if config.origins[field] != "default" or not paths:
        return
    found = detect_source(registry, paths)
    choice = config.choice(Kind.SOURCE)
    if found == choice["name"]:
        return
    if len(choice) > 1:
        config.set_option(field, {**choice, "name": found}, "name", DETECTED)
    else:
        config.update({field: found}, DETECTED)


def source_of(paths: Sequence[str], config: TrainConfig, registry: Registry) -> ComponentRef:
    """The source that reads ``paths``: the configuration's if it was named or reads them, otherwise the one that these
    paths need."""
    choice = config.choice(Kind.SOURCE)
    if config.origins[Kind.SOURCE.setting] in ("default", DETECTED):
        found = detect_source(registry, paths)
        if found != choice["name"]:
            return registry.resolve(Kind.SOURCE, found)
    return registry.resolve(Kind.SOURCE, choice)


def choose_optimizer(config: TrainConfig, registry: Registry) -> ComponentRef:
    """The optimiser of the configuration, its options checked. Raises :class:`midigpt_core.errors.MidigptError`."""
    ref = registry.resolve(Kind.OPTIMIZER, config.choice(Kind.OPTIMIZER))
    structure_options(ref)
    if config.strategy == FSDP and FSDP not in registry.find(Kind.OPTIMIZER, _qualified(ref)).spec.provides:
        raise ConfigError(
            f"strategy: optimizer {ref.name!r} cannot step weights that are split over devices (fsdp). Choose strategy "
            "'ddp', or optimizer 'adamw'."
        )
    return ref


def choose_encoder(config: TrainConfig, registry: Registry) -> ComponentRef:
    """The encoder of the configuration: a component, a preset, a JSON file, or the one inside a bundle."""
    header = bundled_header(config, registry)
    if header is not None:
        return checkpoint.encoder_ref(header)
    return registry.resolve("encoder", config.choice("encoder"))


def bundled_header(config: TrainConfig, registry: Registry) -> BundleHeader | None:
    """The header of the bundle that ``encoder_config_path`` takes the encoder from; None if it is no bundle."""
    path = config.choice("encoder").get("config")
    if isinstance(path, str) and path == config.encoder_config_path and is_bundle(path, registry):
        return checkpoint.read_header(path)
    return None


def build_encoder(ref: ComponentRef) -> Encoder:
    encoder: Encoder = build(ref, EncoderContext())
    return encoder


def is_bundle(path: str, registry: Registry) -> bool:
    """Whether ``path`` looks like a bundle of an available format."""
    specs = [spec for spec in registry.specs(Kind.CHECKPOINT_FORMAT) if isinstance(spec, CheckpointFormatSpec)]
    suffixes = tuple(suffix for spec in specs for suffix in spec.suffixes)
    return bool(path) and (path.endswith(suffixes) or (any(spec.is_dir for spec in specs) and Path(path).is_dir()))


def _qualified(ref: ComponentRef) -> str:
    return f"{ref.plugin}/{ref.name}"
