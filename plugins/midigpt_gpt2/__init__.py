"""Bundled plugin: gpt2."""
