"""The configurations that come with the plugin, one JSON file each."""

from __future__ import annotations

from midigpt_encoder.data_files import load_preset, preset_names

__all__ = ["load_preset", "preset_names"]
