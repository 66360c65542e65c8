"""Bundled plugin: gigamidi."""
