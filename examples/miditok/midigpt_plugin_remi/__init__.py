"""The plugin remi of midigpt-core."""
