"""The most of what is counted, for commands and fields alike. Loads nothing."""

#: Of any count that has no limit of its own: what torch and NumPy take everywhere.
LARGEST_COUNT = 2**31 - 1
#: Packed rows of an evaluation: two billion tokens in rows of 2,048, which is days.
MOST_EVALUATION_ROWS = 1_000_000
