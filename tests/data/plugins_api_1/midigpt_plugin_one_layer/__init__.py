"""The plugin one-layer of midigpt-core."""
