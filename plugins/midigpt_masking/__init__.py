"""Bundled plugin ``masking``: which bars of a training window are hidden (docs/encoder-specification.md, G.4)."""
