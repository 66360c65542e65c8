"""The components that this plugin provides. Imports nothing heavy."""

from __future__ import annotations

from midigpt_core import hookimpl
from midigpt_core.components import OptimizerSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_optimizers() -> list[OptimizerSpec]:
    return [
        OptimizerSpec(
            name="muon",
            summary="Muon for the weight matrices of the transformer blocks, AdamW for the rest",
            target="midigpt_optimizers.muon:build",
            options="midigpt_optimizers.options:MuonOptions",
            provides=frozenset({"fsdp"}),
        ),
        OptimizerSpec(
            name="adamw",
            summary="AdamW: Adam with decoupled weight decay",
            target="midigpt_optimizers.adamw:build",
            provides=frozenset({"fsdp"}),
        ),
    ]
