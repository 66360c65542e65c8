"""Where the figures of the README come from. ``make bench``, or ``python -m bench.run reading encoding``."""
