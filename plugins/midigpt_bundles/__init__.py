"""Bundled plugin: the checkpoint formats ``pt`` (format 1), ``safetensors`` (format 2) and ``huggingface``."""
