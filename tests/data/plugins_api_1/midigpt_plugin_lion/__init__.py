"""The plugin lion of midigpt-core."""
