"""Makes the :class:`~midigpt_core.records.Vocabulary` of an encoder from a list of its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midigpt_core.records import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The numbers of types are bytes.
_MOST_TYPES = 256


def vocabulary_of(tokens: Sequence[tuple[str, int]]) -> Vocabulary:
    """The vocabulary in which token ``i`` has the type and value ``tokens[i]``; types are numbered as they occur.

    Raises ValueError for no tokens, for two tokens of one type and value, and for more than 256 types.
    """
    kinds = list(dict.fromkeys(kind for kind, _ in tokens))
    if not 0 < len(kinds) <= _MOST_TYPES:
        raise ValueError(f"a vocabulary has 1 to {_MOST_TYPES} types, not {len(kinds)}")
    if len({*tokens}) < len(tokens):
        kind, value = next(token for number, token in enumerate(tokens) if token in tokens[:number])
        raise ValueError(f"{kind}({value}) is in the vocabulary twice")
    numbers = {kind: number for number, kind in enumerate(kinds)}
    return Vocabulary(
        size=len(tokens),
        type_names=tuple(kinds),
        type_of=np.array([numbers[kind] for kind, _ in tokens], np.uint8),
        value_of=np.array([value for _, value in tokens], np.int32),
    )
