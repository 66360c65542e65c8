"""Loggers: none, TensorBoard, Weights & Biases. ``metrics.jsonl`` is written by the core whichever is chosen."""
