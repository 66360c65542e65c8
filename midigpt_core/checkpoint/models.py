"""From a bundle to the model it describes, with its weights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

import torch

from midigpt_core.checkpoint.assemble import architecture_ref
from midigpt_core.config.wording import spell
from midigpt_core.contracts import ArchitectureContext, Bundle, BundleHeader
from midigpt_core.errors import CheckpointError, ConfigError
from midigpt_core.plugins import build

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from midigpt_core.components import ComponentRef


#: Weights that are counted at a time: intermediate results take as much memory as they do.
_COUNTED = 1 << 20


def build_model(
    header: BundleHeader, *, device: torch.device | str = "cpu", path: str | os.PathLike[str] | None = None
) -> nn.Module:
    """The model of a bundle, in evaluation mode on ``device``.

    The weights of a :class:`midigpt_core.contracts.Bundle` are loaded strictly: same names, same shapes, every one of
    them finite. A header alone gives fresh weights. torch's generator is left as it was. Raises
    :class:`CheckpointError`, which names the file if its ``path`` is given, for weights that do not fit, and
    :class:`ConfigError` for a device that torch does not know or this machine does not have.
    """
    place = _usable(device)
    try:
        return _built(header).to(place).eval()
    except CheckpointError as error:
        if path is None:
            raise
        raise CheckpointError(f"{os.fspath(path)}: {error}") from error


def _built(header: BundleHeader) -> nn.Module:
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
        _check_finite(model)
    return model


def _usable(device: torch.device | str) -> torch.device:
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    # torch raises any of these, depending on the device and on how it was built.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"device {str(device)!r} cannot be used ({reason}). Choose cpu, or leave it out.") from error
    return place


def _positive(header: BundleHeader, field: str) -> int:
    value = header.architecture_config.get(field)
    if type(value) is not int or value < 1:
        raise CheckpointError(
            f"config.{field} is {spell(value)}, expected a whole number of at least 1. Choose another bundle."
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


def _check_finite(model: nn.Module) -> None:
    """Raise CheckpointError for a weight that is not finite in float32: results computed with it would not be finite
    either."""
    for name, weight in model.named_parameters():
        values = weight.detach().flatten()
        # Both are NaN if one of the weights is; finding them takes no memory.
        if not values.numel() or torch.stack(values.aminmax()).float().isfinite().all():
            continue
        wrong = sum(part.numel() - int(part.float().isfinite().sum()) for part in torch.split(values, _COUNTED))
        raise CheckpointError(
            f"tensor {name!r} has {wrong:,} of {weight.numel():,} weights that are not finite (NaN or infinite). "
            "Choose another bundle, such as an earlier checkpoint of the run."
        )
