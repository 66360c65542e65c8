"""Bundles: weights and encoder in one file, what inference and fine-tuning need.

``bundles`` reads and writes them through the checkpoint formats that plugins provide, ``headers`` reads what they are
without torch, ``assemble`` finds the components that a bundle names, ``models`` builds its model, ``report`` says what
is in one, ``provenance`` records who made it, ``hub`` fetches and pushes them.
``layouts`` (the tensors of a GPT-2 and of a Llama), ``torch_archive`` and ``pickle_data`` (``torch.save`` files as
data) and ``plain`` (values from files) serve the formats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.lazy import lazy_names

if TYPE_CHECKING:
    from midigpt_core.checkpoint.assemble import architecture_ref, build_encoder, encoder_ref
    from midigpt_core.checkpoint.bundles import convert, load_checkpoint, save_bundle
    from midigpt_core.checkpoint.headers import read_header
    from midigpt_core.checkpoint.hub import from_pretrained, push_to_hub, save_pretrained
    from midigpt_core.checkpoint.models import build_model
    from midigpt_core.checkpoint.report import BundleReport, differences, inspect
    from midigpt_core.contracts import Bundle, BundleHeader
    from midigpt_core.terminal import printable

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
    "BundleReport": ".report",
    "architecture_ref": ".assemble",
    "build_encoder": ".assemble",
    "build_model": ".models",
    "convert": ".bundles",
    "differences": ".report",
    "encoder_ref": ".assemble",
    "from_pretrained": ".hub",
    "inspect": ".report",
    "load_checkpoint": ".bundles",
    "printable": "midigpt_core.terminal",
    "push_to_hub": ".hub",
    "read_header": ".headers",
    "save_bundle": ".bundles",
    "save_pretrained": ".hub",
}


__getattr__ = lazy_names(__name__, _HOMES)
