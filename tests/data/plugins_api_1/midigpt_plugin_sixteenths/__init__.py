"""The plugin sixteenths of midigpt-core."""
