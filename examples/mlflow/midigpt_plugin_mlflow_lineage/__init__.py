"""The plugin mlflow-lineage of midigpt-core."""
