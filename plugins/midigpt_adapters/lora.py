"""LoRA (Hu et al., 2021, arXiv:2106.09685), as the library peft computes it."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from transformers.pytorch_utils import Conv1D

from midigpt_adapters.names import LEFT, RIGHT
from midigpt_core.errors import PluginError

if find_spec("peft") is None:
    raise PluginError(
        "adapter 'lora' is trained with the package 'peft', which is not installed. Install it with: pip install "
        "'midigpt-core[peft]'"
    )

from peft import LoraConfig, inject_adapter_in_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from midigpt_adapters.options import LoraOptions
    from midigpt_core.contracts import AdapterContext

#: peft can keep several adapters in a model; ours has one.
_NAME = "default"


class Lora:
    """Satisfies :class:`midigpt_core.contracts.Adapter`."""

    def __init__(self, layers: Mapping[str, Any]) -> None:
        """``layers``: peft's linear layers by the name of the layer that each stands for."""
        self._layers = layers

    def state_dict(self) -> dict[str, Tensor]:
        """Of each layer's weight the two factors, oriented as the weight is stored."""
        tensors: dict[str, Tensor] = {}
        for name, layer in self._layers.items():
            down, up = layer.lora_A[_NAME].weight, layer.lora_B[_NAME].weight
            left, right = (down.T, up.T) if layer.fan_in_fan_out else (up, down)
            tensors |= {f"{name}.weight{LEFT}": left, f"{name}.weight{RIGHT}": right}
        return tensors


def build(options: LoraOptions, context: AdapterContext) -> Lora:
    """Put a LoRA into the layers that ``targets`` names. One of its factors is 0 at first: the model is the base."""
    names = context.matching(options.targets)
    settings = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,  # type: ignore[arg-type]  # peft divides it by the rank, whole or not
        lora_dropout=options.dropout,
        target_modules=names,
        fan_in_fan_out=isinstance(context.model.get_submodule(names[0]), Conv1D),
        bias="none",
    )
    # peft moves its new weights to the base's device, which fake tensors do not allow: they are real at first.
    with warnings.catch_warnings(), unset_fake_temporarily():
        # Where a model has layers of both orientations, peft changes the setting from layer to layer, and says so.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        inject_adapter_in_model(settings, context.model, _NAME)
    layers: dict[str, Any] = {name: context.model.get_submodule(name) for name in names}
    for layer in layers.values():
        for factor in (layer.lora_A[_NAME], layer.lora_B[_NAME]):
            factor.weight = nn.Parameter(torch.empty(factor.weight.shape))
        layer.reset_lora_parameters(_NAME, init_lora_weights=True)
    return Lora(layers)
