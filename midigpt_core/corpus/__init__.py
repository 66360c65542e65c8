"""The corpus: music as memory-mapped columns, parsed once and for every encoder.

``build`` makes it from a source, ``store`` opens it, ``select`` says which pieces an encoder can train on, ``report``
says what is in it. ``format`` is the file, ``isolation`` keeps a bad MIDI file from taking the run down.
"""
