"""From a bundle's header to the components it names, and the checks that they fit.

Names in a file are looked up among the installed components and nowhere else: a file can choose one, never bring one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs
import torch

from midigpt_core.contracts import ArchitectureContext, Bundle, BundleHeader, EncoderContext
from midigpt_core.errors import CheckpointError, ConfigError, PluginError
from midigpt_core.plugins import build, current_registry
from midigpt_core.plugins.targets import import_target

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from torch import Tensor, nn

    from midigpt_core.components import ComponentRef
    from midigpt_core.contracts import Encoder


def encoder_ref(header: BundleHeader) -> ComponentRef:
    """The encoder that the header names.

    Its stored values are the component's options; an options class with a field ``config`` takes them whole in that
    field, so the bundled encoder's ``encoder_config`` stays the JSON object that other programs know.
    """
    ref = _ref("encoder", header.encoder, {})
    stored = dict(header.encoder_config)
    whole = ref.options_class is not None and "config" in attrs.fields_dict(
        import_target(ref.options_class, ref.import_paths)
    )
    return attrs.evolve(ref, options={"config": stored} if whole else stored)


def architecture_ref(header: BundleHeader) -> ComponentRef:
    """The architecture that the header names; ``vocab_size`` and ``n_positions`` belong to its context."""
    options = {
        key: value for key, value in header.architecture_config.items() if key not in ("vocab_size", "n_positions")
    }
    return _ref("architecture", header.architecture, options)


def build_encoder(header: BundleHeader) -> Encoder:
    """The encoder of a bundle. Raises :class:`midigpt_core.errors.MidigptError` for a name or value it cannot use."""
    return cast("Encoder", build(encoder_ref(header), EncoderContext()))


def build_model(header: BundleHeader, *, device: torch.device | str = "cpu") -> nn.Module:
    """The model of a bundle, in evaluation mode on ``device``.

    The weights of a :class:`midigpt_core.contracts.Bundle` are loaded strictly: same names, same shapes. A header alone
    gives fresh weights. torch's generator is left as it was.
    """
    context = ArchitectureContext(
        vocab_size=_positive(header, "vocab_size"), max_seq_len=_positive(header, "n_positions")
    )
    ref = architecture_ref(header)
    with torch.random.fork_rng(devices=[]):
        model = cast("nn.Module", build(ref, context))
    if isinstance(header, Bundle):
        _check_state(model.state_dict(), header.state_dict, ref)
        dtypes = {tensor.dtype for tensor in header.state_dict.values() if tensor.is_floating_point()}
        if len(dtypes) == 1:
            model.to(dtypes.pop())
        model.load_state_dict(dict(header.state_dict), strict=True)
    return model.to(device).eval()


def with_weights(header: BundleHeader, state_dict: Mapping[str, Tensor]) -> Bundle:
    """The bundle of ``header`` with these weights."""
    fields = {field.name: getattr(header, field.name) for field in attrs.fields(BundleHeader)}
    return Bundle(**fields, state_dict=state_dict)


def check_encoder(header: BundleHeader, path: Path) -> None:
    """Whether model and encoder have one vocabulary size; raises :class:`midigpt_core.errors.CheckpointError`."""
    try:
        size = build_encoder(header).vocab_size
    except ConfigError as error:
        raise CheckpointError(f"{path}: its encoder_config cannot be used: {error}") from error
    except PluginError as error:
        raise PluginError(f"{path}: {error}") from error
    rows = header.architecture_config.get("vocab_size")
    if rows != size:
        raise CheckpointError(
            f"{path}: config.vocab_size is {rows}, its encoder has {size} tokens. "
            "The file mixes two models; choose another."
        )


def _ref(kind: str, name: str, options: Mapping[str, Any]) -> ComponentRef:
    return current_registry().find(kind, name).ref(options)


def _positive(header: BundleHeader, field: str) -> int:
    value = header.architecture_config.get(field)
    if type(value) is not int or value < 1:
        raise CheckpointError(
            f"config.{field} is {value!r}, expected a whole number of at least 1. Choose another bundle."
        )
    return value


def _check_state(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], ref: ComponentRef) -> None:
    for name, tensor in expected.items():
        if name not in found:
            raise CheckpointError(f"the bundle has no tensor {name!r}, which {ref} needs. Choose another bundle.")
        if tensor.shape != found[name].shape:
            raise CheckpointError(
                f"tensor {name!r} has shape {tuple(found[name].shape)} in the bundle and {tuple(tensor.shape)} in "
                f"{ref}. Choose another bundle."
            )
    foreign = next((name for name in found if name not in expected), None)
    if foreign is not None:
        raise CheckpointError(f"the bundle has a tensor {foreign!r}, which {ref} does not have. Choose another bundle.")
