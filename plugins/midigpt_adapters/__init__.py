"""Bundled plugin ``adapters``: LoRA, through the library peft."""
