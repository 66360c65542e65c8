"""The plugin weight-norm of midigpt-core."""
