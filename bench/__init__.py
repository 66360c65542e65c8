"""Where the figures of the project come from. ``make bench``, or ``python -m bench.run reading encoding``."""

# Before any module of the bench imports torch: it settles how torch's threads wait.
import midigpt_core as midigpt_core
