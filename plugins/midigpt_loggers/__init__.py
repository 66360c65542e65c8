"""Loggers: none, TensorBoard, Weights & Biases, MLflow. The core always writes ``metrics.jsonl``."""
