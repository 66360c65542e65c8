"""What this plugin provides; imports nothing heavy."""

from __future__ import annotations

from midigpt_core import hookimpl
from midigpt_core.components import ArchitectureSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_architectures() -> list[ArchitectureSpec]:
    return [
        ArchitectureSpec(
            name="gpt2",
            summary="GPT-2 with learned positions, an untied head and no dropout",
            target="midigpt_gpt2.factory:build",
            options="midigpt_gpt2.options:Gpt2Options",
            provides=frozenset({"kv_cache", "gradient_checkpointing", "placeholder_positions"}),
        )
    ]
