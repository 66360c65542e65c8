"""The plugin leaps of midigpt-core."""
