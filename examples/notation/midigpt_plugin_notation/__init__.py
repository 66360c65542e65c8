"""The plugin notation of midigpt-core."""
