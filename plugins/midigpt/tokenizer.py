"""``load_checkpoint``: a bundle from a ``.pt`` file, a ``.safetensors`` file or a legacy directory."""

from __future__ import annotations

from midigpt_core.checkpoint import Bundle, load_checkpoint

__all__ = ["Bundle", "load_checkpoint"]
