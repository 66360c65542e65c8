from collections.abc import Sequence
from typing import Any, TypeAlias, final

from numpy.typing import NDArray
from typing_extensions import Buffer as HasBuffer

from midigpt_core.records import ScoreColumns

# NumPy's own stubs say so only from Python 3.12 on.
AnyBuffer: TypeAlias = HasBuffer | NDArray[Any]

@final
class Buffer:
    """A read-only array with the buffer protocol."""

    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...

@final
class Memory:
    """Uninitialised bytes with the buffer protocol, from memory that is used again."""

    def __init__(self, size: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class MappedFile:
    """A file's bytes, read-only, mapped into memory. It holds no descriptor; changes of the file show.

    Bytes that the file loses meanwhile, because it is cut off or its disk fails, are read as zeros. Raises OSError if
    the file cannot be mapped.
    """

    def __init__(self, descriptor: int) -> None: ...
    @property
    def lost(self) -> bool:
        """Whether a read found such zeros."""

    def __buffer__(self, flags: int, /) -> memoryview: ...

def mapped_losses() -> int:
    """How often a read of a mapped file of this process found that it had lost its bytes."""

def read_batch(data: AnyBuffer, offsets: AnyBuffer, threads: int = 1) -> dict[str, Buffer]: ...
def read_errors() -> list[tuple[int, str, str]]: ...
def score_columns() -> list[tuple[str, str, str, bool]]:
    """(level, dtype, name, whether it may be None) of every score column."""

def write_midi(columns: ScoreColumns) -> bytes: ...
def splice_midi(content: bytes, edit: Any) -> tuple[bytes, int, int, bool, list[int]]: ...

@final
class TokenGrammar:
    """Runs a compiled declaration (:mod:`midigpt_core.encoding.token_grammar`) on a batch of documents."""

    def __init__(self, compiled: Any) -> None: ...
    def start(self, batch: Any, request: Any) -> None: ...
    def take(self) -> tuple[Buffer, Buffer, Buffer]: ...
    def mask(self, out: AnyBuffer) -> None: ...
    def advance(self, tokens: AnyBuffer) -> None: ...
    def finished(self) -> Buffer: ...
    def bars_written(self) -> Buffer: ...
    def document(self, index: int) -> Buffer: ...

@final
class WindowSampler:
    def __init__(
        self,
        columns: Sequence[Any],
        *,
        sizes: Sequence[int],
        min_tracks: int,
        max_tracks: int,
        min_fill_ratio: float,
    ) -> None: ...
    def draw(
        self,
        pieces: AnyBuffer,
        keys: AnyBuffer,
        *,
        start_bar: AnyBuffer,
        num_bars: AnyBuffer,
        tracks: AnyBuffer,
        status: AnyBuffer,
    ) -> None: ...

def valid_windows(
    columns: Any, piece: int, num_bars: int, min_fill_ratio: float, min_tracks: int
) -> list[tuple[int, list[int]]]: ...
def have_windows(
    columns: Any, *, sizes: Sequence[int], min_fill_ratio: float, min_tracks: int, out: AnyBuffer
) -> None: ...
def music_keys(columns: Any, *, exact: AnyBuffer, sketch: AnyBuffer, bars: AnyBuffer) -> None: ...
def best_fit(lengths: AnyBuffer, *, num_rows: int, row_length: int, rows: AnyBuffer) -> None: ...
def fill_rows(
    *,
    tokens: AnyBuffer,
    positions: AnyBuffer | None,
    role: AnyBuffer,
    offsets: AnyBuffer,
    rows: AnyBuffer,
    row_length: int,
    input_ids: AnyBuffer,
    labels: AnyBuffer,
    position_ids: AnyBuffer,
    document_ids: AnyBuffer,
    row_role: AnyBuffer,
) -> None: ...
def philox(counter: AnyBuffer, key: AnyBuffer, out: AnyBuffer) -> None: ...
def uniforms(key: int, count: int) -> Sequence[float]: ...

@final
class TokenSampler:
    def __init__(self, *, top_k: int = 0, top_p: float = 1.0, mask_k: int = 0, mask_p: float = 0.0) -> None: ...
    def choose(
        self,
        logits: AnyBuffer,
        allowed: AnyBuffer,
        temperatures: AnyBuffer,
        keys: AnyBuffer,
        counter: int,
        out: AnyBuffer,
        weights: AnyBuffer | None = None,
        types: AnyBuffer | None = None,
    ) -> None: ...
