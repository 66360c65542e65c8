"""Puts the adapter of a run into its model, and takes it out again when the run saves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch
from attrs import frozen
from torch import nn

from midigpt_core.checkpoint.adapters import component_name, merged_weights
from midigpt_core.contracts import Adapter, AdapterContext
from midigpt_core.errors import ComponentError, ConfigError
from midigpt_core.keys import Stage, derive
from midigpt_core.plugins import build, structure_options
from midigpt_core.training.loop.matrices import conv1d

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from midigpt_core.components import ComponentRef


@frozen(eq=False, kw_only=True)
class Adapted:
    """A model with an adapter in it."""

    ref: ComponentRef
    #: Every option of the adapter, as plain values.
    options: Mapping[str, Any]
    adapter: Adapter
    #: The weights of the base by the architecture's names. They are the model's own tensors, and are not trained.
    base: Mapping[str, Tensor]

    def describe(self) -> dict[str, Any]:
        """The adapter as plain values, for a run's identity."""
        return {"name": component_name(self.ref), **self.options}

    def tensors(self) -> dict[str, Tensor]:
        """A copy of the adapter's own weights, on the CPU."""
        return {name: _copied(tensor) for name, tensor in self.adapter.state_dict().items()}

    def merged(self) -> dict[str, Tensor]:
        """The weights of the architecture with the adapter in them, on the CPU."""
        base = {name: _copied(tensor) for name, tensor in self.base.items()}
        return base | merged_weights(component_name(self.ref), self.options, self.tensors(), base)


def attach(ref: ComponentRef, model: nn.Module, seed: int) -> Adapted | None:
    """Build the adapter ``ref`` into ``model``; None if it is no adapter. New weights are drawn from ``seed``; torch's
    generator is not changed.

    Raises :class:`midigpt_core.errors.ConfigError` for options that do not fit the model, and
    :class:`midigpt_core.errors.ComponentError` for an adapter that trains nothing or thaws its base.
    """
    base = dict(model.state_dict(keep_vars=True))
    own = list(model.parameters())
    trained = [parameter for parameter in own if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    context = AdapterContext(model=model, layers=_linear_layers(model))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(derive(seed, Stage.ADAPTER)[0]))
        adapter: Adapter | None = build(ref, context)
    if adapter is None:
        for parameter in trained:
            parameter.requires_grad_(True)
        return None
    if any(parameter.requires_grad for parameter in own):
        raise ComponentError(str(ref), "when it was built", TypeError("it trains weights of its base"))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"adapter: {ref} adds no weight that is trained. Change its options.")
    options = structure_options(ref)
    plain = {} if options is None else attrs.asdict(options)
    return Adapted(ref=ref, options=plain, adapter=adapter, base=base)


def has_dropout(model: nn.Module) -> bool:
    """Whether a forward pass in training draws random numbers: some layer is a dropout that leaves something out."""
    return any(isinstance(module, _DROPOUTS) and module.p > 0 for module in model.modules())


_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def _linear_layers(model: Any) -> list[str]:
    """The names of the linear layers that compute with their own weight: those of the blocks (members of an
    ``nn.ModuleList``), or in a model without blocks all but the head, which has as many outputs as there are tokens."""
    input_first = conv1d()
    classes: tuple[type[nn.Module], ...] = (nn.Linear, *input_first)
    blocks = [f"{name}." for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    vocabulary = model.architecture_config().get("vocab_size")
    # Attention of torch reads the weight of its last layer, and does not call the layer.
    read = {id(module.out_proj) for module in model.modules() if isinstance(module, nn.MultiheadAttention)}
    found = []
    for name, module in model.named_modules():
        if not isinstance(module, classes) or id(module) in read:
            continue
        weight: Any = module.weight
        outputs = weight.size(1 if isinstance(module, input_first) else 0)
        if any(name.startswith(prefix) for prefix in blocks) or (not blocks and outputs != vocabulary):
            found.append(name)
    return found


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()
