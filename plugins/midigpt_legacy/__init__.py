"""Bundled plugin: legacy."""
