"""Bundles: weights and encoder in one file, what inference and fine-tuning need.

``bundles`` reads and writes them through the checkpoint formats that plugins provide, ``headers`` reads what they are
without torch, ``assemble`` finds the components that a bundle names, ``models`` builds its model, ``report`` says what
is in one, ``provenance`` records who made it, ``hub`` fetches and pushes them.
``gpt2_layout`` (the tensors of a GPT-2), ``torch_archive`` and ``pickle_data`` (``torch.save`` files as data) and
``plain`` (values from files) serve the formats.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from midigpt_core.checkpoint.assemble import architecture_ref, build_encoder, encoder_ref
    from midigpt_core.checkpoint.bundles import convert, load_checkpoint, save_bundle
    from midigpt_core.checkpoint.headers import read_header
    from midigpt_core.checkpoint.hub import from_pretrained, push_to_hub, save_pretrained
    from midigpt_core.checkpoint.models import build_model
    from midigpt_core.contracts import Bundle, BundleHeader

__all__ = [
    "Bundle",
    "BundleHeader",
    "BundleReport",
    "architecture_ref",
    "build_encoder",
    "build_model",
    "convert",
    "differences",
    "encoder_ref",
    "from_pretrained",
    "inspect",
    "load_checkpoint",
    "printable",
    "push_to_hub",
    "read_header",
    "save_bundle",
    "save_pretrained",
]

_HOMES = {
    "Bundle": "midigpt_core.contracts",
    "BundleHeader": "midigpt_core.contracts",
    "BundleReport": "midigpt_core.checkpoint.report",
    "architecture_ref": "midigpt_core.checkpoint.assemble",
    "build_encoder": "midigpt_core.checkpoint.assemble",
    "build_model": "midigpt_core.checkpoint.models",
    "convert": "midigpt_core.checkpoint.bundles",
    "differences": "midigpt_core.checkpoint.report",
    "encoder_ref": "midigpt_core.checkpoint.assemble",
    "from_pretrained": "midigpt_core.checkpoint.hub",
    "inspect": "midigpt_core.checkpoint.report",
    "load_checkpoint": "midigpt_core.checkpoint.bundles",
    "printable": "midigpt_core.terminal",
    "push_to_hub": "midigpt_core.checkpoint.hub",
    "read_header": "midigpt_core.checkpoint.headers",
    "save_bundle": "midigpt_core.checkpoint.bundles",
    "save_pretrained": "midigpt_core.checkpoint.hub",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
