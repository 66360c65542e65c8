"""The names of LoRA's tensors in an adapter's file."""

from __future__ import annotations

#: After the name of a weight [m, n]: the factors [m, rank] and [rank, n], in the order in which they are multiplied.
LEFT, RIGHT = ".lora_left", ".lora_right"
