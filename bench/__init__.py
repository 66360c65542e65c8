"""Where the figures of the project come from. ``make bench``, or ``python -m bench.run reading encoding``."""
