"""The plugin every-other of midigpt-core."""
