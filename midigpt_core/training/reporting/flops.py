"""The floating-point operations of a training step, and the peak of its devices."""

from __future__ import annotations

from typing import Any

import torch
from attrs import frozen
from torch import nn

#: Dense FLOP/s with 16-bit inputs, by a part of the device's name: NVIDIA's data sheets, without sparsity.
_PEAKS = {"H200": 989e12, "H100 80GB HBM3": 989e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "A100": 312e12}


@frozen(kw_only=True)
class ModelFlops:
    """Floating-point operations of a forward and a backward pass: 6 N per token, and 12 L H Q T for its attention to T
    tokens (Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways", 2022, appendix B).

    N excludes embedding tables, which are looked up. T is the length of the token's own document, not of the row.
    Recomputation for gradient checkpointing does not count.
    """

    #: 6 N.
    per_token: float
    #: 12 L H Q; 0 for an architecture that does not name its ``n_layer`` and ``n_embd``.
    per_pair: float

    @classmethod
    def of_model(cls, model: Any) -> ModelFlops:
        """``model``: a :class:`midigpt_core.contracts.Architecture`, before it is split over devices."""
        looked_up = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        multiplied = sum(weight.numel() for weight in model.parameters() if id(weight) not in looked_up)
        sizes = model.architecture_config()
        pair = 12.0 * int(sizes.get("n_layer", 0)) * int(sizes.get("n_embd", 0))
        return cls(per_token=6.0 * multiplied, per_pair=pair)

    def of(self, tokens: float, pairs: float) -> float:
        """FLOPs for ``tokens`` tokens in documents whose squared lengths add up to ``pairs``."""
        return self.per_token * tokens + self.per_pair * pairs


def peak_flops(device: torch.device, precision: str) -> float | None:
    """The peak of a device in FLOP/s; None if it is unknown, as for other devices and 32-bit inputs."""
    if device.type != "cuda" or precision == "fp32":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in _PEAKS.items() if part in name), None)
