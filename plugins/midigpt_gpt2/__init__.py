"""Bundled plugin: the architecture ``gpt2``, transformers' GPT-2 with exact isolation of documents."""
