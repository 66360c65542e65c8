"""Reports on a run: steps, progress, metrics, loggers, curves and samples."""
