"""Bundled plugin ``optimizers``: how the weights are stepped."""
