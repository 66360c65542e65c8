"""A factor for each output of each linear layer."""

import attrs
import torch
from torch import nn

from midigpt_core.errors import CheckpointError


@attrs.frozen
class Options:
    #: How far a factor moves from 1 with a step of the optimiser.
    strength: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))


class Scaled(nn.Module):
    def __init__(self, layer, strength):
        super().__init__()
        self.layer = layer
        self.strength = strength
        # nn.Linear stores its weight as [out, in], transformers' Conv1D as [in, out].
        is_linear = isinstance(layer, nn.Linear)
        self.gain = nn.Parameter(torch.zeros((layer.out_features, 1) if is_linear else (1, layer.nf)))

    def forward(self, x):
        return self.layer(x) * (1 + self.strength * self.gain.flatten())


class Gains:
    def __init__(self, layers):
        self.layers = layers

    def state_dict(self):
        return {f"{name}.gain": layer.gain for name, layer in self.layers.items()}


def build(options, context):
    layers = {}
    for name in context.matching([]):
        layers[name] = Scaled(context.model.get_submodule(name), options.strength)
        parent, _, last = name.rpartition(".")
        setattr(context.model.get_submodule(parent), last, layers[name])
    return Gains(layers)


def merge(options, adapter, base):
    merged = {}
    for name, gain in adapter.items():
        layer = name.removesuffix(".gain")
        weight, bias = base.get(f"{layer}.weight"), base.get(f"{layer}.bias")
        if weight is None or gain.numel() not in weight.shape:
            raise CheckpointError(f"the adapter's tensor {name[:80]!r} does not fit. Choose another adapter.")
        factor = 1 + options.strength * gain
        merged[f"{layer}.weight"] = weight * factor
        if bias is not None:
            merged[f"{layer}.bias"] = bias * factor.flatten()
    return merged
