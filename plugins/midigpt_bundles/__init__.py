"""Bundled plugin: the checkpoint formats ``pt`` (format 1) and ``safetensors`` (format 2)."""
