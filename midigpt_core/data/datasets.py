"""The token stream as batches of tensors, made in this process or in workers.

Workers make whole blocks in turn; this process cuts batches out of them. Any number of workers gives the same batches.
"""

from __future__ import annotations

import multiprocessing
import threading
import traceback
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, NoReturn

import torch
from attrs import frozen
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from midigpt_core.data import shared_memory
from midigpt_core.data.blocks import ROWS_PER_BLOCK
from midigpt_core.errors import ComponentError, DataError, MidigptError
from midigpt_core.system import signals
from midigpt_core.system.capabilities import has
from midigpt_core.system.liveness import is_stopped
from midigpt_core.system.processes import die_with_parent, leave_signals_to_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from multiprocessing.process import BaseProcess

    from torch import Tensor

    from midigpt_core.data.blocks import Block, BlockReport
    from midigpt_core.data.stream import StreamSpec

#: Seconds without a block after which workers count as stuck and are killed; a block takes well under a second.
WORKER_TIMEOUT_S = 600
#: Seconds between checks that all workers are alive. torch reports a dead worker by an exception in whatever the
#: process is doing, and Python drops an exception that occurs in an object's finaliser.
_LOOK_S = 5
#: Seconds within which a killed worker disappears; one that dumps its memory to the disk takes some.
_ENDING_S = 5.0
#: Why the system sends a process this signal.
_CAUSES = {
    "SIGKILL": ", which systems send when memory runs out",
    "SIGBUS": ": /dev/shm is full, or a file of the corpus was cut",
    "SIGSEGV": ": a fault in native code",
    "SIGABRT": ": a fault in native code",
}
#: Exceptions from reading from a dead worker; RuntimeError is torch's own.
_LOST = (RuntimeError, OSError, EOFError, multiprocessing.ProcessError)
#: Blocks that a worker makes ahead of the one that is being cut into batches.
_AHEAD = shared_memory.BLOCKS_A_WORKER - 1


@frozen(eq=False)
class _RowPlan:
    """The packed rows of the stream that one rank takes. Global micro-batch k is ``world_size * batch_size``
    consecutive ones, and each rank takes a consecutive share of them."""

    batch_size: int
    first_row: int
    rank: int
    world_size: int

    def first_row_of(self, micro_batch: int) -> int:
        return self.first_row + (micro_batch * self.world_size + self.rank) * self.batch_size

    def pieces_of(self, micro_batch: int) -> Iterator[tuple[int, slice]]:
        """The batch as (block index, rows of the block)."""
        row = self.first_row_of(micro_batch)
        end = row + self.batch_size
        while row < end:
            block, within = divmod(row, ROWS_PER_BLOCK)
            stop = min(ROWS_PER_BLOCK, within + end - row)
            yield block, slice(within, stop)
            row += stop - within

    def blocks(self) -> Iterator[int]:
        """The blocks this rank needs, each once, without end."""
        latest = -1
        micro_batch = 0
        while True:
            for block, _ in self.pieces_of(micro_batch):
                if block > latest:
                    yield block
                    latest = block
            micro_batch += 1


@frozen(eq=False)
class _TensorBlock:
    """A block on its way to the batches."""

    index: int
    tensors: dict[str, Tensor]
    report: BlockReport


@frozen(eq=False)
class _SharedBlock:
    """A block in memory that its worker shares: ``tensors`` the first time a place is used, None afterwards."""

    index: int
    #: The worker, and the index of the memory among that worker's.
    place: tuple[int, int]
    tensors: dict[str, Tensor] | None
    report: BlockReport


class _SharedMemory:
    """Shared memory for a worker's blocks, used in turn: as many places as can be in use at once.

    The loader asks a worker for a block beyond :data:`_AHEAD` only when it hands one over, so a block that is
    overwritten was cut up before. New memory for every block would cost more than making the block: each page would be
    touched for the first time here, and again where it is read.
    """

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._places: list[dict[str, Tensor]] = []
        self._turn = 0

    def put(self, block: _TensorBlock) -> _SharedBlock:
        place = self._turn % (_AHEAD + 1)
        self._turn += 1
        new = place == len(self._places)
        if new:
            shared = {name: tensor.clone() for name, tensor in block.tensors.items()}
            for tensor in shared.values():
                tensor.share_memory_()  # type: ignore[no-untyped-call]
            self._places.append(shared)
        else:
            for name, tensor in block.tensors.items():
                self._places[place][name].copy_(tensor)
        return _SharedBlock(block.index, (self._worker, place), self._places[place] if new else None, block.report)


@frozen(eq=False)
class _Failure:
    """An error that leaves a worker. A plugin's exception may not survive pickling, but its text does."""

    error: MidigptError | None
    message: str = ""
    component: str = ""
    where: str = ""
    #: Its traceback in the worker.
    text: str = ""

    def throw(self) -> NoReturn:
        if self.error is not None:
            raise self.error
        error = ComponentError.copy(self.message, self.component, self.where)
        error.add_note(f"In a data worker:\n{self.text}")
        raise error


def _unexpected(worker: int, num_workers: int, error: Exception) -> DataError:
    """The error for an exception that is neither ours nor a component's: usually the machine ran out of memory or
    files."""
    reason = " ".join(str(error).split()) or "no reason given"
    advice = "Lower num_workers, and resume the run; with num_workers 0 --traceback shows where it happened."
    if "/torch_" in reason:  # as torch names its shared memory
        advice = f"{shared_memory.remark()} {advice}"
    what = f"{type(error).__name__}: {reason.rstrip('.')}"
    return DataError(f"data worker {worker + 1} of {num_workers} failed ({what}). {advice}")


class _BlockDataset(IterableDataset[_SharedBlock | _Failure]):
    """The blocks of a plan that fall to a worker: in worker w of W, every W-th from the w-th on."""

    def __init__(self, spec: StreamSpec, plan: _RowPlan) -> None:
        self._spec = spec
        self._plan = plan

    def __iter__(self) -> Iterator[_SharedBlock | _Failure]:
        worker = get_worker_info()
        assert worker is not None
        try:
            yield from self._blocks_of(worker.id, worker.num_workers)
        except MidigptError as error:
            yield _Failure(error)
        except ComponentError as error:
            yield _Failure(None, str(error), error.component, error.where, "".join(traceback.format_exception(error)))

    def _blocks_of(self, worker: int, num_workers: int) -> Iterator[_SharedBlock]:
        try:
            stream, memory = self._spec.open(), _SharedMemory(worker)
            for number, block in enumerate(self._plan.blocks()):
                if number % num_workers == worker:
                    yield memory.put(_to_tensors(stream.block(block)))
        except (MidigptError, ComponentError):
            raise
        except Exception as error:
            raise _unexpected(worker, num_workers, error) from error


def batches(
    spec: StreamSpec,
    *,
    batch_size: int,
    first_row: int,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    start_method: str | None = None,
    on_block: Callable[[BlockReport], None] | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Batches without end: the fields of :class:`midigpt_core.records.PackedBatch` as tensors of ``batch_size`` rows,
    and ``tokens_by_set`` int64[B, S], the tokens of each row by training set (S is 1 without sets).

    Batch k of rank r holds the rows from ``first_row + (k * world_size + r) * batch_size`` on. ``num_workers``
    processes make blocks ahead (0: this one does, on demand), started by ``start_method`` (``"fork"``, ``"spawn"``,
    ``"forkserver"``; None: the platform's, but forks instead of a server of forks). ``on_block`` is called once for
    every block, when its first row is used.

    Raises :class:`midigpt_core.errors.ComponentError`, :class:`DataError` and other :class:`MidigptError` as
    :meth:`midigpt_core.data.stream.TokenStream.block` does, from workers too, and :class:`DataError` if a worker dies.
    Closing the iterator ends the workers.
    """
    plan = _RowPlan(batch_size, first_row, rank, world_size)
    blocks = _blocks(spec, plan, num_workers, start_method)
    try:
        yield from _cut(plan, blocks, on_block)
    finally:
        blocks.close()


def _cut(
    plan: _RowPlan, blocks: Iterator[_TensorBlock], on_block: Callable[[BlockReport], None] | None
) -> Iterator[dict[str, Tensor]]:
    current: _TensorBlock | None = None
    micro_batch = 0
    while True:
        batch: dict[str, Tensor] = {}
        filled = 0
        for index, rows in plan.pieces_of(micro_batch):
            if current is None or current.index != index:
                current = next(blocks)
                if on_block is not None:
                    on_block(current.report)
            end = filled + rows.stop - rows.start
            for name, tensor in current.tensors.items():
                if name not in batch:
                    batch[name] = tensor.new_empty((plan.batch_size, *tensor.shape[1:]))
                # Copied now, because a worker may overwrite this block once the next one has arrived. By NumPy, because
                # torch would wake threads, which would then wait for cores that workers use.
                batch[name].numpy()[filled:end] = tensor[rows].numpy()
            filled = end
        yield batch
        micro_batch += 1


def _start_method() -> str | None:
    """Python's own choice, except a server of forks (on Linux from Python 3.14 on): its processes import everything
    again, and outlive a parent that is killed."""
    if not has("fork"):
        return "spawn"
    return "fork" if multiprocessing.get_start_method() == "forkserver" else None


def _blocks(spec: StreamSpec, plan: _RowPlan, num_workers: int, start_method: str | None) -> Generator[_TensorBlock]:
    if num_workers == 0:
        stream = spec.open()
        for block in plan.blocks():
            yield _to_tensors(stream.block(block))
        return
    before = multiprocessing.active_children()
    loader = DataLoader(
        _BlockDataset(spec, plan),
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=_AHEAD,
        multiprocessing_context=start_method or _start_method(),
        timeout=min(_LOOK_S, WORKER_TIMEOUT_S),
        worker_init_fn=_start_worker,
        # The loader draws a seed for its workers. It must not advance the process's own generator.
        generator=torch.Generator(),
    )
    try:
        arriving = iter(loader)
    except OSError as error:  # a limit on processes or memory is reached
        _end([child for child in multiprocessing.active_children() if child not in before])
        raise DataError(
            f"{num_workers} data workers cannot be started ({error.strerror or error}). Lower num_workers."
        ) from error
    workers = [child for child in multiprocessing.active_children() if child not in before]
    patience = _Patience(workers)
    places: dict[tuple[int, int], dict[str, Tensor]] = {}
    try:
        patience.begin()
        while True:
            arrived = _next_block(arriving, workers, patience)
            if isinstance(arrived, _Failure):
                arrived.throw()
            if arrived.tensors is not None:
                places[arrived.place] = arrived.tensors
            yield _TensorBlock(arrived.index, places[arrived.place], arrived.report)
    except BaseException as error:
        # Frames of the loader keep it alive, and the workers end only with it.
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        # The traceback of an error keeps this frame alive; the workers must end anyway.
        with _deaf_to_children():
            patience.close()
            del arriving
            _end(workers)


@contextmanager
def _deaf_to_children() -> Iterator[None]:
    """Disable torch's handler of SIGCHLD while dead workers are handled: it raises an exception for each of them."""
    if threading.current_thread() is not threading.main_thread():  # which has no handlers
        yield
        return
    with signals.children_unnoticed():
        yield


def _end(workers: Sequence[BaseProcess]) -> None:
    """Kill the workers that are left: one that is stuck in native code does not react to a request to end."""
    for worker in workers:
        worker.kill()
        worker.join()


def _start_worker(_worker: int) -> None:
    leave_signals_to_parent()
    die_with_parent()


class _Patience:
    """Kills the workers, from a separate thread, once this process has waited :data:`WORKER_TIMEOUT_S` for a block.
    torch's time-out does not cover a wait for bytes from a stopped worker, in the middle of a block or of the handshake
    that hands over its memory.

    Time is counted in checks, so time during which the run itself was suspended does not count.
    """

    def __init__(self, workers: Sequence[BaseProcess]) -> None:
        self._workers = workers
        #: Another object for every wait; None between waits. The waiting thread alone sets it, the other only reads it.
        self._wait: object | None = None
        self._closed = threading.Event()
        #: What was found when the time was up; empty before.
        self.verdict = ""
        self._thread = threading.Thread(target=self._count, name="data patience", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self._wait = object()
        try:
            yield
        finally:
            self._wait = None

    def close(self) -> None:
        self._closed.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join()

    def _count(self) -> None:
        counted: object | None = None
        waited = 0.0
        while not self._closed.wait(_LOOK_S):
            wait = self._wait
            if wait is None:
                continue
            waited = waited + _LOOK_S if wait is counted else float(_LOOK_S)
            counted = wait
            if waited >= WORKER_TIMEOUT_S:
                stopped = [str(worker.pid) for worker in self._workers if is_stopped(worker.pid or 0)]
                remark = f" (process {', '.join(stopped)} of them is stopped, as by SIGSTOP)" if stopped else ""
                self.verdict = f"no block came from the data workers for {WORKER_TIMEOUT_S} s{remark}"
                for worker in self._workers:
                    worker.kill()
                return


def _next_block(
    arriving: Iterator[_SharedBlock | _Failure], workers: Sequence[BaseProcess], patience: _Patience
) -> _SharedBlock | _Failure:
    with patience.waiting():
        while True:
            try:
                return next(arriving)
            except _LOST as error:
                reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            is_slow = "timed out" in reason and all(worker.exitcode is None for worker in workers)
            if not is_slow or patience.verdict:
                break
    with _deaf_to_children():
        what = patience.verdict or _what_ended(workers, reason)
    # Raised outside the except block: as a cause, the loader's own error would keep its workers alive.
    raise DataError(f"{what}. Lower num_workers, which is {len(workers)}, and resume the run.")


def _what_ended(workers: Sequence[BaseProcess], reason: str) -> str:
    """How the workers ended. The loader's own ``reason`` may only come from reading from a dead worker."""
    ended = wait([worker.sentinel for worker in workers], timeout=_ENDING_S)
    for worker in workers:
        if worker.sentinel in ended:
            worker.join()  # its files are closed, so its exit code is available in a moment
    codes = [worker.exitcode for worker in workers]
    killed = next((-code for code in codes if code is not None and code < 0), None)
    if killed is not None:
        name = signals.name_of(killed)
        return f"one of {len(workers)} data workers was killed by {name}{_CAUSES.get(name, '')}"
    code = next((code for code in codes if code), None)
    what = f"a data worker ended with code {code}" if code else "the data workers failed"
    return f"{what} ({reason})"


def _to_tensors(block: Block) -> _TensorBlock:
    batch = block.batch
    arrays = {
        "input_ids": batch.input_ids,
        "labels": batch.labels,
        "position_ids": batch.position_ids,
        "document_ids": batch.document_ids,
        "role": batch.role,
        "row": batch.row,
        "tokens_by_set": block.tokens_by_set,
    }
    return _TensorBlock(block.index, {name: torch.from_numpy(array) for name, array in arrays.items()}, block.report)
