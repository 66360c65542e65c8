"""The plugin empty-bars of midigpt-core."""
