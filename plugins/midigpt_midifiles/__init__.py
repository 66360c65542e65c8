"""Bundled plugin: the data source ``midifiles`` (:mod:`midigpt_midifiles.source`)."""
