"""Batches: one stream for any number of workers, any start, any number of ranks; failures come out whole."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from itertools import islice
from multiprocessing import resource_sharer
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np
import pytest
import torch

from midigpt_core.config import TrainConfig
from midigpt_core.corpus.format import SIDECAR_NAME, read_sidecar
from midigpt_core.data import datasets, shared_memory
from midigpt_core.data.datasets import batches
from midigpt_core.data.settings import StreamSettings
from midigpt_core.errors import ComponentError, ConfigError, CorpusError, DataError
from midigpt_core.system.liveness import is_alive
from support.windows import corpus_of, random_pieces, spec_of, write_corpus

if TYPE_CHECKING:
    from midigpt_core.data.stream import StreamSpec

PIECES = random_pieces(21, 90)
SETTINGS = StreamSettings(max_seq_len=256)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_corpus(tmp_path_factory.mktemp("corpus"), corpus_of(PIECES[:40], PIECES[40:]))


@pytest.fixture(scope="module")
def spec(shards: list[Path]) -> StreamSpec:
    return spec_of(90, SETTINGS, shards, mean_length=60.0)


def take(spec: StreamSpec, count: int, **options) -> list[dict[str, torch.Tensor]]:
    iterator = batches(spec, **{"batch_size": 16, "first_row": 0, **options})
    taken = list(islice(iterator, count))
    iterator.close()
    return taken


def assert_same(left: list[dict[str, torch.Tensor]], right: list[dict[str, torch.Tensor]]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def joined(parts: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def test_fields_shapes_and_types(spec):
    (batch,) = take(spec, 1, first_row=70)
    assert {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in batch.items()} == {
        "input_ids": ((16, 256), torch.int64),
        "labels": ((16, 256), torch.int64),
        "position_ids": ((16, 256), torch.int64),
        "document_ids": ((16, 256), torch.int32),
        "role": ((16, 256), torch.uint8),
        "row": ((16,), torch.int64),
        "tokens_by_set": ((16, 1), torch.int64),
    }
    assert batch["row"].tolist() == list(range(70, 86))


@pytest.mark.parametrize(
    ("num_workers", "start_method"), [(1, "fork"), (2, "fork"), (4, "fork"), (2, "spawn")], ids=str
)
def test_any_number_of_workers_gives_the_same_stream(spec, num_workers, start_method):
    expected = take(spec, 18, batch_size=24, first_row=40)
    generator = torch.get_rng_state()
    assert_same(
        take(spec, 18, batch_size=24, first_row=40, num_workers=num_workers, start_method=start_method), expected
    )
    assert multiprocessing.active_children() == []
    assert torch.equal(torch.get_rng_state(), generator)


def test_workers_are_forked_also_where_python_prefers_a_server_of_forks(spec, monkeypatch):
    """As from Python 3.14 on."""
    assert multiprocessing.get_context().get_start_method() in {"fork", "forkserver"}
    of_3_14 = multiprocessing.get_context("forkserver")
    monkeypatch.setattr(multiprocessing.context._default_context, "_actual_context", of_3_14)
    assert multiprocessing.get_start_method() == "forkserver"
    stream = batches(spec, batch_size=16, first_row=0, num_workers=1)
    next(stream)
    kinds = [type(worker).__name__ for worker in multiprocessing.active_children()]
    stream.close()
    assert kinds == ["ForkProcess"]
    assert multiprocessing.active_children() == []


def test_a_batch_of_several_blocks_is_not_written_over(spec):
    expected = take(spec, 4, batch_size=200, first_row=10)
    assert_same(take(spec, 4, batch_size=200, first_row=10, num_workers=1), expected)


def test_a_stream_can_start_at_any_row(spec):
    whole = joined(take(spec, 20, batch_size=10))
    for first_row in (1, 63, 64, 65, 130):
        part = joined(take(spec, 3, batch_size=10, first_row=first_row, num_workers=first_row % 2))
        rows = slice(first_row, first_row + 30)
        assert all(torch.equal(part[name], whole[name][rows]) for name in whole)


@pytest.mark.parametrize(("batch_size", "world_size"), [(8, 2), (64, 2), (5, 3), (100, 2)])
def test_ranks_share_the_global_batches(spec, batch_size, world_size):
    steps = 3
    alone = take(spec, steps, batch_size=batch_size * world_size, first_row=30)
    ranks = [
        take(spec, steps, batch_size=batch_size, first_row=30, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert_same([joined([rank[step] for rank in ranks]) for step in range(steps)], alone)


def test_a_rank_makes_only_the_blocks_it_needs(spec):
    reports = []
    take(spec, 4, batch_size=64, rank=1, world_size=4, on_block=reports.append)
    assert len(reports) == 4
    reports.clear()
    take(spec, 9, batch_size=16, num_workers=2, on_block=reports.append)
    stream = spec.open()
    assert reports == [stream.block(index).report for index in range(3)]


def test_without_packing_the_stream_is_the_same_for_workers_too(spec):
    single = attrs.evolve(spec, settings=attrs.evolve(SETTINGS, packing=False))
    assert_same(take(single, 6, num_workers=2), take(single, 6))


def test_row_names_lead_back_to_the_pieces(spec):
    (batch,) = take(spec, 1, first_row=200)
    stream = spec.open()
    for row, documents in zip(batch["row"].tolist(), batch["document_ids"].max(dim=1).values.tolist(), strict=True):
        assert len(stream.pieces_of_row(row)) == documents + 1


def test_a_spec_is_picklable_and_small(spec):
    assert len(pickle.dumps(spec)) < 4096
    copy = pickle.loads(pickle.dumps(spec))
    np.testing.assert_array_equal(copy.open().block(0).batch.input_ids, spec.open().block(0).batch.input_ids)


def test_spawned_workers_load_no_training_libraries(shards):
    spec = spec_of(90, SETTINGS, shards, forbidden_modules=["lightning", "transformers", "pytorch_lightning"])
    assert len(take(spec, 1, num_workers=1, start_method="spawn")) == 1


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_component_that_fails_is_named_in_any_process(shards, num_workers):
    spec = spec_of(90, SETTINGS, shards, mean_length=60.0, raise_on=45)
    with pytest.raises(ComponentError, match=r"encoder 'echo' of test-parts 1\.0 failed .*row 50,.*") as caught:
        take(spec, 50, num_workers=num_workers)
    assert "ArithmeticError: this piece is too difficult" in str(caught.value)
    assert caught.value.component == "encoder 'echo' of test-parts 1.0"
    assert multiprocessing.active_children() == []


def test_errors_for_the_user_keep_their_type_across_processes(shards):
    spec = spec_of(90, StreamSettings(max_seq_len=4), shards)
    with pytest.raises(DataError, match=r"none of \d+ windows drawn gave tokens"):
        take(spec, 1, num_workers=1)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_damage_after_the_corpus_was_written_is_found(tmp_path, num_workers):
    (path,) = write_corpus(tmp_path, corpus_of(PIECES[:40]))
    buffers = read_sidecar(path.with_name(SIDECAR_NAME)).buffers
    pitches = next(buffer for buffer in buffers if buffer.name == "note_pitch")
    content = bytearray(path.with_name(pitches.file).read_bytes())
    content[pitches.offset + pitches.count // 2] ^= 1
    path.with_name(pitches.file).write_bytes(content)
    with pytest.raises(CorpusError, match="preprocess"):
        take(spec_of(40, SETTINGS, [path]), 10, num_workers=num_workers)


def test_a_dead_worker_is_a_clear_error(shards):
    spec = spec_of(90, SETTINGS, shards, mean_length=60.0, die_on=45)
    with pytest.raises(DataError, match=r"^one of 2 data workers was killed by SIG"):
        take(spec, 200, num_workers=2)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("number", "cause"),
    [(signal.SIGKILL, "SIGKILL, which systems send when memory runs out"), (signal.SIGBUS, "SIGBUS: /dev/shm is full")],
)
def test_a_killed_worker_is_named_with_its_signal(spec, number, cause):
    iterator = batches(spec, batch_size=16, first_row=0, num_workers=2)
    next(iterator)
    os.kill(multiprocessing.active_children()[0].pid, number)
    message = f"^one of 2 data workers was killed by {cause}.* Lower num_workers, which is 2"
    with pytest.raises(DataError, match=message) as caught:
        for _ in range(1000):
            next(iterator)
    assert "\n" not in str(caught.value)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("error", [EOFError(), OSError("gone"), multiprocessing.AuthenticationError("digest")])
def test_reading_from_a_worker_that_is_killed_meanwhile_names_the_signal(spec, error, monkeypatch):
    """The connection may break, in any phase, before the system tells of the worker's end."""
    iterator = batches(spec, batch_size=16, first_row=0, num_workers=2)
    next(iterator)

    def failing(*_):
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGKILL)
        raise error

    monkeypatch.setattr(torch.utils.data.dataloader._MultiProcessingDataLoaderIter, "_try_get_data", failing)
    with pytest.raises(DataError, match=r"^one of 2 data workers was killed by SIGKILL.* Lower num_workers"):
        for _ in range(1000):
            next(iterator)
    assert multiprocessing.active_children() == []


def test_a_death_that_nobody_heard_of_is_seen(spec):
    iterator = batches(spec, batch_size=16, first_row=0, num_workers=2)
    next(iterator)
    heard = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        begun = time.monotonic()
        with pytest.raises(DataError, match=r"^one of 2 data workers was killed by SIGKILL"):
            for _ in range(1000):
                next(iterator)
    finally:
        signal.signal(signal.SIGCHLD, heard)
    assert time.monotonic() - begun < 20


def test_a_slow_worker_is_waited_for(spec, monkeypatch):
    monkeypatch.setattr(datasets, "_LOOK_S", 1)
    iterator = batches(spec, batch_size=16, first_row=0, num_workers=1)
    expected = batches(spec, batch_size=16, first_row=0)
    for number in range(40):
        if number == 1:
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, signal.SIGSTOP)
            threading.Timer(2.5, os.kill, (worker.pid, signal.SIGCONT)).start()
        one, other = next(iterator), next(expected)
        assert all(torch.equal(one[name], other[name]) for name in other)
    iterator.close()


@pytest.mark.parametrize("moment", ["in the handshake", "before a block"])
def test_a_stopped_worker_ends_the_wait_for_it(spec, monkeypatch, moment):
    """The handshake hands over the memory of a block that has arrived: torch waits in it without a time-out."""
    monkeypatch.setattr(datasets, "_LOOK_S", 1)
    monkeypatch.setattr(datasets, "WORKER_TIMEOUT_S", 2)
    iterator = batches(spec, batch_size=16, first_row=0, num_workers=1)
    if moment == "before a block":
        next(iterator)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGSTOP)

    def connect(ident):
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGSTOP)
        return original(ident)

    original = resource_sharer._resource_sharer.get_connection
    if moment == "in the handshake":
        monkeypatch.setattr(resource_sharer._resource_sharer, "get_connection", connect)
    begun = time.monotonic()
    message = r"^no block came from the data workers for 2 s \(process \d+ of them is stopped, as by SIGSTOP\)\. Lower"
    with pytest.raises(DataError, match=message) as caught:
        for _ in range(1000):
            next(iterator)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < 20
    assert multiprocessing.active_children() == []
    assert not [thread for thread in threading.enumerate() if thread.name == "data patience"]


class Looks:
    """In place of the event that ends the count: ``looks`` looks, of no time, then the end."""

    def __init__(self, looks):
        self.left = looks

    def wait(self, _seconds):
        self.left -= 1
        return self.left < 0


def counted(monkeypatch, end_at):
    """What is found when the wait ends before instruction ``end_at`` of the count; the instructions of one look."""
    monkeypatch.setattr(datasets, "_LOOK_S", 1)
    monkeypatch.setattr(datasets, "WORKER_TIMEOUT_S", 3)
    patience = datasets._Patience([])
    patience._closed = looks = Looks(8)
    waiting = patience.waiting()
    done = one_look = 0

    def trace(frame, event, _):
        nonlocal done, one_look
        if frame.f_code is not datasets._Patience._count.__code__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            if done == end_at:
                waiting.__exit__(None, None, None)
            done += 1
            one_look += looks.left >= 7
        return trace

    before = sys.gettrace()
    with waiting if end_at is None else nullcontext(waiting.__enter__()):
        sys.settrace(trace)
        try:
            patience._count()
        finally:
            sys.settrace(before)
    return patience.verdict, one_look


def test_a_wait_that_ends_while_it_is_counted_is_over(monkeypatch):
    """At any instruction of the thread that counts."""
    verdict, one_look = counted(monkeypatch, None)
    assert verdict == "no block came from the data workers for 3 s"
    assert one_look > 10
    assert {counted(monkeypatch, end_at)[0] for end_at in range(one_look)} == {""}


def test_a_worker_without_shared_memory_ends_the_stream_in_a_line(spec, monkeypatch):
    def start(worker):
        original(worker)
        # As /dev/shm does when it is full, the system refuses to make the memory.
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    original = datasets._start_worker
    monkeypatch.setattr(datasets, "_start_worker", start)
    begun = time.monotonic()
    with pytest.raises(DataError, match=r"^data worker \d of 2 failed \(\w+: .*/dev/shm has .* free\. Lower") as caught:
        take(spec, 2, num_workers=2)
    assert "\n" not in str(caught.value)
    assert multiprocessing.active_children() == []
    assert time.monotonic() - begun < 20


def test_any_error_of_this_process_ends_the_workers_too(spec, monkeypatch):
    iterator = batches(spec, batch_size=16, first_row=0, num_workers=2)
    next(iterator)

    def failing(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.utils.data.dataloader._MultiProcessingDataLoaderIter, "_process_data", failing)
    with pytest.raises(KeyboardInterrupt) as caught:
        for _ in range(1000):
            next(iterator)
    # The error is still there, and with it its frames.
    assert caught.tb is not None
    assert multiprocessing.active_children() == []


def test_a_worker_that_hears_nothing_is_ended(spec):
    iterator = batches(spec, batch_size=16, first_row=0, num_workers=1)
    next(iterator)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGSTOP)
    iterator.close()
    assert multiprocessing.active_children() == []


def test_shared_memory_that_does_not_suffice_is_said_before_the_start(spec, monkeypatch):
    settings = attrs.evolve(SETTINGS, max_seq_len=2048)
    monkeypatch.setattr(shared_memory, "free_shared_memory", lambda: 64 << 20)
    shared_memory.require_room(settings, 5, 1)
    with pytest.raises(ConfigError, match=r"num_workers: 8 data workers need 8\d\.\d MiB .* 64\.0 MiB free\. .* to 5,"):
        shared_memory.require_room(settings, 8, 1)
    with pytest.raises(ConfigError, match=r"num_workers: 6 data workers"):
        shared_memory.require_room(settings, 3, 2)
    monkeypatch.setattr(shared_memory, "free_shared_memory", lambda: None)
    shared_memory.require_room(settings, 8, 1)
    # What it is reckoned from is what a worker takes.
    block = spec.open().block(0)
    taken = 3 * sum(tensor.nbytes for tensor in datasets._to_tensors(block).tensors.values())
    assert taken <= shared_memory.bytes_a_worker(SETTINGS) <= taken + (1 << 20)


ORPHAN_SCRIPT = """
import multiprocessing, pickle, sys
sys.path.insert(0, {folder!r})
from midigpt_core.data.datasets import batches

with open({spec!r}, "rb") as stream:
    spec = pickle.load(stream)
iterator = batches(spec, batch_size=16, first_row=0, num_workers=2)
next(iterator)
print(*[child.pid for child in multiprocessing.active_children()], flush=True)
while True:
    next(iterator)
"""


def test_workers_end_with_a_process_that_is_killed(spec, tmp_path):
    pickled = tmp_path / "spec.pickle"
    pickled.write_bytes(pickle.dumps(spec))
    script = ORPHAN_SCRIPT.format(folder=str(Path(__file__).parents[1]), spec=str(pickled))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        process.send_signal(signal.SIGKILL)
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(is_alive(pid) for pid in workers):
        time.sleep(0.1)
    assert [pid for pid in workers if is_alive(pid)] == []


def test_settings_come_from_the_configuration():
    config = TrainConfig(max_seq_len=512, num_bars_choices=[8, 4], seed=9, transpose_range=[-2, 3], packing=False)
    settings = StreamSettings.from_config(config)
    assert settings == StreamSettings(
        max_seq_len=512, num_bars_choices=(4, 8), seed=9, transpose_range=(-2, 3), packing=False
    )
    assert StreamSettings.from_config(TrainConfig()) == StreamSettings()
