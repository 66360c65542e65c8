"""The plugin webdataset of midigpt-core."""
