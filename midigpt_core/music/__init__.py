"""Measures the music that a model generates: excerpts of unseen pieces, generated bars, and figures of metrics."""
