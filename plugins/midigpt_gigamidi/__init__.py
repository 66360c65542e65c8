"""Bundled plugin: the data source ``gigamidi`` (:mod:`midigpt_gigamidi.source`)."""
