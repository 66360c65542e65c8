"""The plugin trackio of midigpt-core."""
