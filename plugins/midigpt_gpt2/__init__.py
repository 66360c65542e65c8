"""Bundled plugin: the ``gpt2`` architecture, GPT-2 of transformers with exact document isolation."""
