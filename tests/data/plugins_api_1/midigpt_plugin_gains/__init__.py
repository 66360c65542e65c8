"""The plugin gains of midigpt-core."""
