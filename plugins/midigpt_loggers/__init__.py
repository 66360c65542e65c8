"""Loggers: none, TensorBoard, Weights & Biases. The core always writes ``metrics.jsonl``."""
