"""Bundled plugin: the architecture ``llama``, transformers' Llama with exact isolation of documents."""
