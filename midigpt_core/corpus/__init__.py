"""The corpus: music as memory-mapped columns, parsed once and for every encoder.

``build`` makes it from a source, ``store`` opens it, ``select`` finds the pieces that an encoder can train on,
``report`` describes it. ``format`` defines its files, ``isolation`` keeps a bad MIDI file from crashing the run.
"""
