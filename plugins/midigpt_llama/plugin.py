"""What this plugin provides; imports nothing heavy."""

from __future__ import annotations

from midigpt_core import hookimpl
from midigpt_core.components import ArchitectureSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_architectures() -> list[ArchitectureSpec]:
    return [
        ArchitectureSpec(
            name="llama",
            summary="Llama: rotary positions, RMS norms, SwiGLU, grouped queries, an untied head and no dropout",
            target="midigpt_llama.factory:build",
            options="midigpt_llama.options:LlamaOptions",
            provides=frozenset({"kv_cache", "gradient_checkpointing", "placeholder_positions"}),
        )
    ]
