"""Bundled plugin: encoder."""
