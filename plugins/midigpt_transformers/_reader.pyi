from collections.abc import Mapping
from typing import final

from midigpt_core.records import Float32Array, Int32Array, Int64Array

def instruction_sets() -> list[str]:
    """The kernels that this processor can run, the fastest first."""

@final
class Model:
    """The weights of a transformer, packed for the kernels.

    ``tensors``: float32 arrays under the names of :mod:`midigpt_transformers.reader`, each [outputs, inputs] or a
    vector. Raises ValueError for a tensor that is missing or has another shape, and for an unknown ``precision``.
    """

    def __init__(
        self,
        tensors: Mapping[str, Float32Array],
        *,
        vocab: int,
        positions: int,
        width: int,
        layers: int,
        heads: int,
        kv_heads: int,
        inner: int,
        precision: str,
    ) -> None: ...

@final
class Sequences:
    """``count`` sequences that one model reads, with keys and values for ``capacity`` tokens each, or as many as the
    model has positions.

    For one thread at a time, in the process that opened them. They are read by ``threads`` threads, or by fewer where
    the system gives no more. Raises RuntimeError while another thread is reading and after a fork that left their
    threads behind; ValueError for a count or capacity that no memory could hold.
    """

    def __init__(self, model: Model, *, count: int, capacity: int, threads: int, instruction_set: str) -> None: ...
    def step(self, tokens: Int32Array, positions: Int32Array, offsets: Int64Array, logits: Float32Array) -> None: ...
    def step_together(self, steps: list[tuple[Sequences, Int32Array, Int32Array, Int64Array, Float32Array]]) -> None:
        """The ``step`` of several others in one batch, read by the threads of this one: each with its sequences, then
        the arguments of its ``step``. Raises ValueError, before anything is read, if one of them cannot be carried out,
        is of another model or of a larger capacity than this one."""

    def begin_as(self, other: Sequences, sources: Int64Array) -> None: ...
