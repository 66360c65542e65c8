"""Bundled plugin: bundles."""
