"""The plugin folders of midigpt-core."""
