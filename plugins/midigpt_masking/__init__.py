"""Bundled plugin ``masking``: which bars of a training window are hidden (encoder specification, G.4)."""
