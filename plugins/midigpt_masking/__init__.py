"""Bundled plugin: masking."""
