"""Bundled plugin: loggers."""
