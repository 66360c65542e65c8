"""What a run says of itself: steps, progress, metrics, loggers, curves and samples."""
