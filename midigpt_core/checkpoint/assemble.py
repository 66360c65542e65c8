"""Finds the components that a bundle's header names, and checks that they fit.

Names in a file are looked up only among the installed components: a file can choose a component, but cannot supply one.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import attrs

from midigpt_core.config.wording import spell
from midigpt_core.contracts import Bundle, BundleHeader, EncoderContext
from midigpt_core.errors import CheckpointError, ComponentError, ConfigError, PluginError
from midigpt_core.kinds import Kind
from midigpt_core.plugins import build, current_registry, structure_options
from midigpt_core.plugins.targets import import_target
from midigpt_core.records import INFILL_POSITIONS, SEQUENCE
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from torch import Tensor

    from midigpt_core.components import ComponentRef, ComponentSpec
    from midigpt_core.contracts import Encoder

#: What a model's configuration has that its factory gets from the context.
_OF_CONTEXT = ("vocab_size", "n_positions")


def encoder_ref(header: BundleHeader) -> ComponentRef:
    """The encoder that the header names.

    Its stored values are the component's options; an options class with a field ``config`` takes all of them in that
    field, so the bundled encoder's ``encoder_config`` stays the JSON object that other programs know.
    """
    ref = _ref(header, "encoder", header.encoder, {})
    return attrs.evolve(ref, options=_encoder_options(ref, header.encoder_config))


def _encoder_options(ref: ComponentRef, config: Mapping[str, Any]) -> dict[str, Any]:
    stored = dict(config)
    whole = ref.options_class is not None and "config" in attrs.fields_dict(
        import_target(ref.options_class, ref.import_paths)
    )
    return {"config": stored} if whole else stored


def architecture_ref(header: BundleHeader) -> ComponentRef:
    """The architecture that the header names; ``vocab_size`` and ``n_positions`` belong to its context."""
    return _ref(header, "architecture", header.architecture, _without(_OF_CONTEXT, header.architecture_config))


def require_restorable(
    architecture: ComponentRef, sizes: Mapping[str, Any], encoder: ComponentRef, config: Mapping[str, Any]
) -> None:
    """Raise :class:`ComponentError` if a bundle with these configurations could not be read again.

    ``sizes`` is what ``architecture_config()`` of the model returned, ``config`` what ``to_config()`` of the encoder
    returned.
    """
    with _restoring(architecture, "architecture_config"):
        if missing := [name for name in _OF_CONTEXT if name not in sizes]:
            raise ValueError(f"it has no {missing[0]}")
        structure_options(attrs.evolve(architecture, options=_without(_OF_CONTEXT, sizes)))
    with _restoring(encoder, "to_config"):
        structure_options(attrs.evolve(encoder, options=_encoder_options(encoder, config)))


@contextmanager
def _restoring(ref: ComponentRef, method: str) -> Iterator[None]:
    try:
        yield
    except (ConfigError, TypeError, ValueError) as error:
        problem = ValueError(f"a bundle with what it returned could not be read: {error}")
        raise ComponentError(str(ref), f"{method}()", problem) from error


def _without(names: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in names}


def build_encoder(header: BundleHeader) -> Encoder:
    """The encoder of a bundle. Raises :class:`midigpt_core.errors.MidigptError` for a name or value it cannot use."""
    return cast("Encoder", build(encoder_ref(header), EncoderContext()))


def header_alone(bundle: BundleHeader) -> BundleHeader:
    """The header of a bundle without its weights, which would stay in memory with it."""
    return BundleHeader(**{field.name: getattr(bundle, field.name) for field in attrs.fields(BundleHeader)})


def with_weights(header: BundleHeader, state_dict: Mapping[str, Tensor]) -> Bundle:
    """The bundle of ``header`` with these weights."""
    fields = {field.name: getattr(header, field.name) for field in attrs.fields(BundleHeader)}
    return Bundle(**fields, state_dict=state_dict)


def infill_positions(header: BundleHeader) -> str:
    """How the bundle says that filled bars are numbered (:data:`midigpt_core.records.INFILL_POSITIONS`).

    A bundle that does not say so has its tokens in sequence. Text from the file: show it through ``printable``.
    """
    return str(header.encoder_config.get("infill_positions", SEQUENCE))


def check_positions(header: BundleHeader, encoder: Encoder) -> None:
    """Whether encoder and architecture number filled bars as the bundle says; raises
    :class:`midigpt_core.errors.CheckpointError`."""
    setting = infill_positions(header)
    lacking = None
    if encoder.infill_positions != setting:
        lacking = f"encoder {header.encoder!r} has {encoder.infill_positions!r} here"
    elif setting not in INFILL_POSITIONS:
        lacking = f"there are only {' and '.join(INFILL_POSITIONS)}"
    elif setting != SEQUENCE and "placeholder_positions" not in _architecture(header).provides:
        lacking = f"architecture {header.architecture!r} does not provide it"
    if lacking:
        raise CheckpointError(
            f"infill_positions is {printable(setting)!r}, and {lacking}. Update the plugin, or choose another bundle."
        )


def check_encoder(header: BundleHeader, path: Path) -> None:
    """Whether model and encoder fit: one vocabulary size, one way to number filled bars. Raises
    :class:`midigpt_core.errors.CheckpointError`."""
    try:
        encoder = build_encoder(header)
        check_positions(header, encoder)
    except ConfigError as error:
        raise CheckpointError(f"{path}: its encoder_config cannot be used: {error}") from error
    except PluginError as error:
        raise PluginError(f"{path}: {error}") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    size = encoder.vocab_size
    rows = header.architecture_config.get("vocab_size")
    if rows != size:
        raise CheckpointError(
            f"{path}: config.vocab_size is {spell(rows)}, its encoder has {size} tokens. "
            "The file mixes two models; choose another."
        )


def _architecture(header: BundleHeader) -> ComponentSpec:
    try:
        return current_registry().find(Kind.ARCHITECTURE, header.architecture).spec
    except PluginError as error:
        raise PluginError(f"{error}{_origin(header.provenance, 'architecture')}") from error


def _ref(header: BundleHeader, kind: str, name: str, options: Mapping[str, Any]) -> ComponentRef:
    try:
        return current_registry().find(kind, name).ref(options)
    except PluginError as error:
        raise PluginError(f"{error}{_origin(header.provenance, kind)}") from error


def _origin(provenance: Mapping[str, Any], kind: str) -> str:
    """Where the bundle says that a missing component came from, for the message only: nothing is fetched."""
    components = provenance.get("components")
    made_of = components.get(kind) if isinstance(components, dict) else None
    if not isinstance(made_of, dict) or not made_of.get("distribution"):
        return ""
    origin = printable(f"{made_of['distribution']} {made_of.get('version', '')}".rstrip(), 80)
    return f" The bundle was made with that of {origin!r}; install it if you trust it."
