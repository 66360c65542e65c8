"""Shards on the Hugging Face Hub, by addresses that start with ``hf://``; huggingface_hub is imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.lazy import lazy_names

if TYPE_CHECKING:
    from midigpt_gigamidi.hub.listing import list_files
    from midigpt_gigamidi.hub.shards import HubFiles, HubShard

#: What addresses on the Hub start with.
SCHEME = "hf://"

__all__ = ["HubFiles", "HubShard", "list_files"]

__getattr__ = lazy_names(__name__, {"HubFiles": ".shards", "HubShard": ".shards", "list_files": ".listing"})
