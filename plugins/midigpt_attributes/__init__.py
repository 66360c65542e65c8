"""Bundled plugin ``attributes``: attribute controls that are computed in Python, for encoders that name them."""
