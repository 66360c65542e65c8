from collections.abc import Mapping, Sequence
from typing import Any, final

from midigpt_core.records import (
    BoolArray,
    CorpusShard,
    Float64Array,
    GrammarRequest,
    Int16Array,
    Int32Array,
    Int64Array,
    TokenBatch,
    UInt8Array,
    WindowBatch,
)

#: The number of the token type of the first attribute control of a plugin.
FIRST_EXTERNAL: int

def token_types() -> list[tuple[int, str, str, str]]:
    """(number, canonical name, upper-case name or "", alias or "") of every type."""

def attribute_controls() -> list[dict[str, Any]]:
    """What each attribute control is called and takes."""

@final
class Codebook:
    """The token ids of one configuration. Raises ValueError naming the setting that is wrong."""

    def __init__(self, settings: Mapping[str, Any]) -> None: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def domains(self) -> list[tuple[str, int]]:
        """(canonical type, size), in the order of their ids."""

    @property
    def attributes(self) -> list[tuple[str, str]]:
        """(name, token type as its control spells it), the K axis."""

    @property
    def attribute_infos(self) -> list[tuple[str, Any, int, bool, bool]]:
        """(name, level, size, whether it applies to melodic tracks, and to drums), the K axis."""

@final
class Corpus:
    """Shards of columns as native code reads them, checked once."""

    def __init__(self, shards: Sequence[CorpusShard], piece_offsets: Int64Array) -> None: ...

def encode_batch(
    codebook: Codebook, corpus: Corpus, windows: WindowBatch, max_tokens: Int32Array, threads: int
) -> tuple[Int32Array, Int64Array, UInt8Array, UInt8Array, Int64Array, Int32Array | None]:
    """Tokens, offsets, role, status, masked spans and positions of a :class:`midigpt_core.records.TokenBatch`."""

def positions(codebook: Codebook, tokens: Int32Array) -> Int32Array:
    """Positions of one document. Raises ValueError for a token outside the vocabulary."""

def compute_attributes(codebook: Codebook, corpus: Corpus, windows: WindowBatch) -> Int16Array:
    """int16[N, T, 1+B, K], -1 where a control says nothing."""

def window_notes(codebook: Codebook, corpus: Corpus, windows: WindowBatch) -> dict[str, Any]:
    """The notes of windows by window, track, bar, onset and pitch, as flat arrays."""

def decode(codebook: Codebook, tokens: Int32Array, resample: bool) -> tuple[dict[str, Any], list[dict[str, int]]]:
    """Columns of the score by name, and the attribute levels of each track."""

class Grammar:
    """:class:`midigpt_core.contracts.Grammar` of one codebook, whose errors are ValueError; RuntimeError while another
    thread is using it."""

    def __init__(self, codebook: Codebook) -> None: ...
    def start(self, batch: TokenBatch, request: GrammarRequest) -> None: ...
    def take(self) -> tuple[Int32Array, Int32Array, Int64Array]: ...
    def mask(self, out: BoolArray) -> None: ...
    def weights(self, out: Float64Array) -> None: ...
    def advance(self, tokens: Int32Array) -> None: ...
    def finished(self) -> BoolArray: ...
    def bars_written(self) -> Int32Array: ...
    def document(self, index: int) -> Int32Array: ...
