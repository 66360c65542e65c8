"""The plugin lines of midigpt-core."""
