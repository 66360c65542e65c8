"""The data stage: windows drawn by key, encoded, packed, batched.

Start at :mod:`midigpt_core.data.stream`; ``docs/sampling.md`` defines the distribution.
"""
