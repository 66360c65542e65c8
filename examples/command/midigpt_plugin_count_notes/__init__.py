"""The plugin count-notes of midigpt-core."""
