"""The plugin patience of midigpt-core."""
