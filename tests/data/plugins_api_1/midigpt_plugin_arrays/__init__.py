"""The plugin arrays of midigpt-core."""
