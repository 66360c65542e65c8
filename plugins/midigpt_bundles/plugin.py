"""What this plugin provides; imports nothing heavy."""

from __future__ import annotations

from midigpt_core import hookimpl
from midigpt_core.components import CheckpointFormatSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_checkpoint_formats() -> list[CheckpointFormatSpec]:
    return [
        CheckpointFormatSpec(
            name="pt",
            summary="format 1: a file of torch.save with tensors and plain values",
            target="midigpt_bundles.pt:build",
            headers="midigpt_bundles.pt_header:build",
            suffixes=(".pt", ".pth"),
            read_elsewhere=True,
        ),
        CheckpointFormatSpec(
            name="safetensors",
            summary="format 2: a safetensors file, same bytes for same weights",
            target="midigpt_bundles.safetensors:build",
            headers="midigpt_bundles.safetensors_header:build",
            suffixes=(".safetensors",),
            read_elsewhere=True,
        ),
        CheckpointFormatSpec(
            name="huggingface",
            summary="a folder that transformers' AutoModelForCausalLM.from_pretrained reads",
            target="midigpt_bundles.huggingface:build",
            headers="midigpt_bundles.huggingface_header:build",
            is_dir=True,
            read_elsewhere=True,
        ),
    ]
