"""Which tensor of a TorchScript module is which tensor of a GPT-2."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from midigpt_core.checkpoint.gpt2_layout import EMBEDDING, HEAD, POSITIONS, Gpt2Size, is_old_buffer, tensor_shapes
from midigpt_core.checkpoint.pickle_data import Instance
from midigpt_core.checkpoint.torch_archive import StoredTensor

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

#: The end of a GPT-2 tensor's name, whatever modules wrap it.
_ENDING = re.compile(
    r"(?:^|\.)(wte\.weight|wpe\.weight|ln_f\.(?:weight|bias)"
    r"|h\.\d{1,5}\.(?:(?:ln_1|ln_2|attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.(?:weight|bias)"
    r"|attn\.(?:bias|masked_bias)))$"
)
_HEAD_ENDING = re.compile(r"(?:^|\.)lm_head\.weight$")
_MAX_OBJECTS = 100_000
_MAX_DEPTH = 64
#: A 48-layer GPT-2 has some 600 tensors; together with its whole-number attributes, some thousand names.
_MAX_NAMED = 10_000
_MAX_NAME = 256
_BLOCK_TENSORS = 12
_OTHER_TENSORS = 5


class NamesDifferError(ValueError):
    """The tensors are not those of a GPT-2, as far as names or order tell."""


def named_tensors(module: object) -> tuple[dict[str, StoredTensor], dict[str, set[int]]]:
    """The tensors of a module by dotted name, in its order, and the values of its whole-number attributes by name."""
    tensors: dict[str, StoredTensor] = {}
    numbers: dict[str, set[int]] = {}
    # A module's name and what is still to be seen of it. Only what is kept gets a name: long names for many objects
    # would take gigabytes.
    opened: list[tuple[str, Iterator[tuple[object, object]]]] = [("", iter(_inside(module)))]
    seen = named = 0
    while opened:
        prefix, rest = opened[-1]
        key, value = next(rest, (None, None))
        if key is None:
            opened.pop()
            continue
        seen += 1
        if seen > _MAX_OBJECTS or len(opened) > _MAX_DEPTH:
            raise NamesDifferError("its modules are nested too deeply")
        inside = _inside(value)
        if not inside and type(value) is not int and not isinstance(value, StoredTensor):
            continue
        name = f"{prefix}{key!s:.{_MAX_NAME}}"
        named += not inside
        if len(name) >= _MAX_NAME or named > _MAX_NAMED:
            raise NamesDifferError("its modules have too long names, or too many")
        if isinstance(value, StoredTensor):
            tensors[name] = value
        elif type(value) is int:
            numbers.setdefault(name.rpartition(".")[2], set()).add(value)
        else:
            opened.append((f"{name}.", iter(inside)))
    return tensors, numbers


def _inside(value: object) -> Collection[tuple[object, object]]:
    """Names and values of a module's attributes."""
    return value.state.items() if isinstance(value, Instance) and isinstance(value.state, dict) else ()


def by_name(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The tensors under a GPT-2's names, old causal masks left out; raises :class:`NamesDifferError`."""
    found: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        ending = _ENDING.search(name)
        if ending is not None:
            known = f"transformer.{ending[1]}"
        elif _HEAD_ENDING.search(name):
            known = HEAD
        else:
            raise NamesDifferError(f"its tensor {name[:80]!r} has no name that a GPT-2 uses")
        if is_old_buffer(known):
            continue
        if found.setdefault(known, tensor) != tensor:
            raise NamesDifferError(f"two different tensors could be {known!r}, one of them {name[:80]!r}")
    if EMBEDDING not in found or POSITIONS not in found:
        raise NamesDifferError("there are no embeddings under the names that a GPT-2 uses")
    return found


def by_order(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The tensors under a GPT-2's names, matched by order and shape; raises :class:`NamesDifferError`."""
    in_order = list(tensors.values())
    layers, rest = divmod(len(in_order) - _OTHER_TENSORS, _BLOCK_TENSORS)
    if rest or layers < 1 or any(len(tensor.shape) != 2 for tensor in in_order[:2]):
        raise NamesDifferError(f"its {len(in_order)} tensors are not those of a GPT-2")
    (vocabulary, width), (positions, _) = in_order[0].shape, in_order[1].shape
    size = Gpt2Size(vocab_size=vocabulary, n_positions=positions, n_embd=width, n_layer=layers, n_head=1)
    shapes = tensor_shapes(size)
    for (name, shape), tensor, theirs in zip(shapes.items(), in_order, tensors, strict=True):
        if tensor.shape != shape:
            raise NamesDifferError(
                f"its tensor {theirs[:80]!r} has shape {tensor.shape} where a GPT-2 has {name!r} of shape {shape}"
            )
    return dict(zip(shapes, in_order, strict=True))
