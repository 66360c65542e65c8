"""The plugin mlflow of midigpt-core."""
