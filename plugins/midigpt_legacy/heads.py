"""How many attention heads a TorchScript GPT-2 has; its tensors do not say.

In this order: ``n_head`` in config.json; a whole-number attribute of its modules; the head size that the program's text
reshapes to, read as text; else the first usual count that divides the width.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The order in which midigpt 0.4.2 tries them.
USUAL_COUNTS = (8, 16, 12, 4)

_ATTRIBUTES = ("n_head", "num_heads", "n_heads", "num_attention_heads")
#: ``torch.view(key_states, [_35, int(_36), -1, 64])``: the last number is the size of a head.
_RESHAPE = re.compile(r"torch\.(?:view|reshape)\([^\[\]]{1,80}\[[^\[\]]{1,160}, (\d{1,5})\]\)")


def told_heads(width: int, attributes: Mapping[str, set[int]], program: str) -> int | None:
    """The head count that the modules' attributes or the program's text agree on, None if neither tells."""
    named = set().union(*(attributes.get(name, set()) for name in _ATTRIBUTES))
    if len(named) == 1:
        return named.pop()
    sizes = {int(match) for match in _RESHAPE.findall(program)}
    counts = {width // size for size in sizes if 0 < size < width and width % size == 0}
    return counts.pop() if len(counts) == 1 else None


def usual_heads(width: int) -> int:
    """The first usual head count that divides ``width``, 1 if none does."""
    return next((count for count in USUAL_COUNTS if width % count == 0), 1)
