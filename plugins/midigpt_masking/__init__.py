"""Bundled plugin ``masking``: which bars of a training window are masked (docs/encoder-specification.md, G.4)."""
