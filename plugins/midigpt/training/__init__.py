"""``python -m midigpt.training.preprocess`` and ``python -m midigpt.training.trainer``."""
