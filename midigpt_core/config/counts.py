"""Upper limits of counts, for commands and fields alike. Imports nothing."""

#: For any count without a limit of its own: what torch and NumPy accept everywhere.
LARGEST_COUNT = 2**31 - 1
#: For packed rows of an evaluation: two billion tokens in rows of 2,048 take days.
MOST_EVALUATION_ROWS = 1_000_000
#: For excerpts in which bars are generated: their notes are measured together, in memory.
MOST_EXCERPTS = 4_096
