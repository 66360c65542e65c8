"""The components that this plugin provides. Imports nothing heavy."""

from __future__ import annotations

from midigpt_core import hookimpl
from midigpt_core.components import AdapterSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_adapters() -> list[AdapterSpec]:
    return [
        AdapterSpec(
            name="none",
            summary="no adapter: all weights of the model are trained",
            target="midigpt_adapters.none:build",
        ),
        AdapterSpec(
            name="lora",
            summary="LoRA: to each linear layer, a product of two thin matrices is added (extra 'peft')",
            target="midigpt_adapters.lora:build",
            options="midigpt_adapters.options:LoraOptions",
            merge="midigpt_adapters.merging:merge",
        ),
    ]
