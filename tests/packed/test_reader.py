"""Sequences read by native kernels: forward's logits, and the same bits in any batch, chunk and number of threads."""

from __future__ import annotations

import os
import resource
import select
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from midigpt_transformers import _reader
from midigpt_transformers.reader import Reader

from midigpt_core.contracts import ArchitectureContext
from midigpt_core.inference.forward_reader import ForwardReader
from midigpt_core.plugins import build, current_registry
from support.architectures import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from midigpt_transformers.model import PackedModel
    from numpy.typing import NDArray

VOCAB, POSITIONS = 101, 96


def model(
    architecture: str = "gpt2", width: int = 48, heads: int = 4, layers: int = 2, **more: int | float
) -> PackedModel:
    """Weights large enough that attention and logits are far from uniform."""
    sizes = {"name": architecture, "n_embd": width, "n_layer": layers, "n_head": heads, **more}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        made: Any = build(
            current_registry().resolve("architecture", sizes),
            ArchitectureContext(vocab_size=VOCAB, max_seq_len=POSITIONS),
        )
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return made.eval()


def read(
    reader: Reader | ForwardReader,
    sequences: Sequence[NDArray[np.int32]],
    chunks: Sequence[int],
    positions_of: NDArray[np.int32] | None = None,
) -> NDArray[np.float32]:
    """Logits after each chunk: float32[chunks, sequences, V]; chunks are lengths that add up to the sequences'."""
    places = np.arange(POSITIONS, dtype=np.int32) if positions_of is None else positions_of
    opened = reader.open(len(sequences), POSITIONS)
    logits = np.zeros((len(sequences), VOCAB), np.float32)
    out, start = [], 0
    for size in chunks:
        tokens = np.concatenate([sequence[start : start + size] for sequence in sequences])
        positions = np.tile(places[start : start + size], len(sequences))
        opened.step(tokens, positions, np.arange(len(sequences) + 1) * size, logits)
        out.append(logits.copy())
        start += size
    return np.stack(out)


TOKENS = np.random.default_rng(2).integers(0, VOCAB, (5, 80)).astype(np.int32)


#: Of a document with blocks at 40 to 54 and 55 to 79, which fill in placeholders at 9 and 23.
OF_PLACEHOLDERS = np.concatenate([np.arange(40), np.arange(9, 24), np.arange(23, 48)]).astype(np.int32)


@pytest.mark.parametrize("instruction_set", _reader.instruction_sets())
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("chunks", [[80], [40] + [1] * 40, [3, 50, 7, 20]])
def test_positions_are_taken_as_they_are_given(chunks: list[int], instruction_set: str, architecture: str) -> None:
    """Also where they go back and occur twice: what a token sees depends on its place alone."""
    made = model(architecture)
    native = Reader(made.reader_tensors(), made.architecture_config(), "float32", instruction_set)
    tokens, positions = torch.from_numpy(TOKENS).long(), torch.from_numpy(OF_PLACEHOLDERS).long()
    with torch.no_grad():
        expected = made(tokens, position_ids=positions.expand(len(TOKENS), -1)).numpy()
        in_sequence = made(tokens).numpy()
    assert np.array_equal(expected[:, :40], in_sequence[:, :40])
    assert np.abs(expected[:, 40:] - in_sequence[:, 40:]).max() > 1e-2 * np.abs(expected).max()
    for reader in (native, ForwardReader(made)):
        ours = read(reader, list(TOKENS), chunks, OF_PLACEHOLDERS)
        for chunk, end in enumerate(np.cumsum(chunks)):
            assert np.abs(ours[chunk] - expected[:, end - 1]).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("instruction_set", _reader.instruction_sets())
@pytest.mark.parametrize(
    "sizes",
    [
        *(
            {"architecture": name, "width": width, "heads": heads}
            for name in ARCHITECTURES
            for width, heads in [(48, 4), (64, 1), (100, 5), (32, 8), (192, 2)]
        ),
        {"architecture": "llama", "width": 96, "heads": 6, "n_kv_head": 2, "n_inner": 70},
        {"architecture": "llama", "width": 64, "heads": 4, "n_kv_head": 1, "rope_theta": 300.0},
        {"architecture": "llama", "width": 64, "heads": 4, "n_kv_head": 4, "n_inner": 1},
    ],
    ids=lambda sizes: "-".join(map(str, sizes.values())),
)
def test_logits_are_those_of_the_forward_pass(sizes: dict[str, Any], instruction_set: str) -> None:
    made = model(**sizes)
    reader = Reader(made.reader_tensors(), made.architecture_config(), "float32", instruction_set)
    with torch.no_grad():
        expected = made(torch.from_numpy(TOKENS).long()).numpy()
    ours = read(reader, list(TOKENS), [40] + [1] * 40)
    assert np.abs(ours[0] - expected[:, 39]).max() < 2e-5 * np.abs(expected).max()
    for step in range(1, 41):
        assert np.abs(ours[step] - expected[:, 39 + step]).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("instruction_set", _reader.instruction_sets())
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_sequences_logits_are_the_same_bits_in_any_batch_and_chunk(
    precision: str, instruction_set: str, architecture: str
) -> None:
    made = model(architecture)
    reader = Reader(made.reader_tensors(), made.architecture_config(), precision, instruction_set)
    alone = [read(reader, [sequence], [80])[-1, 0] for sequence in TOKENS]
    for count in range(1, 6):
        for chunks in ([80], [1] * 80, [17, 1, 1, 40, 21]):
            together = read(reader, list(TOKENS[:count]), chunks)[-1]
            assert all(np.array_equal(together[i], alone[i]) for i in range(count))
    many = read(reader, [*TOKENS, *TOKENS, *TOKENS], [80])[-1]
    assert all(np.array_equal(many[i], alone[i % 5]) for i in range(15))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_number_of_threads_changes_no_bit(architecture: str) -> None:
    made = model(architecture, width=256, heads=4)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(read(made.reader(), list(TOKENS), [60, 1, 19]))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_copies_go_on_as_their_sources_would(architecture: str) -> None:
    reader = model(architecture).reader()
    expected = read(reader, list(TOKENS[:2]), [50, 1])[-1]
    opened = reader.open(2, POSITIONS)
    logits = np.zeros((2, VOCAB), np.float32)
    opened.step(TOKENS[:2, :50].ravel(), np.tile(np.arange(50, dtype=np.int32), 2), np.array([0, 50, 100]), logits)
    # A copy of a copy, whose prefix is shared, and sources that go on meanwhile.
    twice = opened.fork(np.array([0, 1])).fork(np.array([0, 1]))
    opened.step(TOKENS[2:4, 0].copy(), np.full(2, 50, np.int32), np.arange(3), logits.copy())
    copies = twice.fork(np.array([1, 0, 1]))
    logits = np.zeros((3, VOCAB), np.float32)
    copies.step(TOKENS[[1, 0, 1], 50].copy(), np.full(3, 50, np.int32), np.arange(4), logits)
    assert np.array_equal(logits, expected[[1, 0, 1]])
    further = copies.fork(np.array([2]))
    one = np.zeros((1, VOCAB), np.float32)
    for step in range(51, 80):
        further.step(TOKENS[1, step : step + 1].copy(), np.full(1, step, np.int32), np.arange(2), one)
    assert np.array_equal(one[0], read(reader, [TOKENS[1]], [80])[-1, 0])


def test_sequences_that_read_nothing_keep_their_logits() -> None:
    opened = model().reader().open(2, POSITIONS)
    logits = np.zeros((2, VOCAB), np.float32)
    opened.step(TOKENS[0, :3].copy(), np.arange(3, dtype=np.int32), np.array([0, 3, 3]), logits)
    first = logits.copy()
    assert not logits[1].any()
    opened.step(TOKENS[1, :2].copy(), np.arange(2, dtype=np.int32), np.array([0, 0, 2]), logits)
    assert np.array_equal(logits[0], first[0])
    assert logits[1].any()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_positions_may_leave_tokens_out(architecture: str) -> None:
    """What is masked is not read: its place counts, nothing attends to it."""
    made = model(architecture)
    kept = np.r_[0:20, 30:50].astype(np.int32)
    tokens = TOKENS[0, kept]
    with torch.no_grad():
        expected = made(torch.from_numpy(tokens)[None].long(), position_ids=torch.from_numpy(kept)[None].long())[0, -1]
    opened = made.reader().open(1, POSITIONS)
    logits = np.zeros((1, VOCAB), np.float32)
    opened.step(tokens, kept, np.array([0, 40]), logits)
    assert np.allclose(logits[0], expected.numpy(), atol=2e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_without_a_reader_the_forward_pass_gives_the_same(architecture: str) -> None:
    made = model(architecture)
    ours = read(made.reader(), list(TOKENS[:3]), [40, 1, 39])
    theirs = read(ForwardReader(made), list(TOKENS[:3]), [40, 1, 39])
    assert np.abs(ours - theirs).max() < 2e-5 * np.abs(theirs).max()
    copies = ForwardReader(made).open(1, POSITIONS)
    logits = np.zeros((1, VOCAB), np.float32)
    copies.step(TOKENS[0, :40].copy(), np.arange(40, dtype=np.int32), np.array([0, 40]), logits)
    again = copies.fork(np.array([0, 0]))
    logits = np.zeros((2, VOCAB), np.float32)
    again.step(np.repeat(TOKENS[0, 40], 2), np.full(2, 40, np.int32), np.arange(3), logits)
    assert np.abs(logits - theirs[1, 0]).max() < 2e-5 * np.abs(theirs).max()


def test_training_on_does_not_change_a_reader() -> None:
    made = model()
    reader = made.reader()
    before = read(reader, list(TOKENS[:1]), [80])
    with torch.no_grad():
        made.lm_head.weight.zero_()
    assert np.array_equal(read(reader, list(TOKENS[:1]), [80]), before)


@pytest.mark.parametrize(
    ("tokens", "positions", "offsets", "message"),
    [
        ([VOCAB], [0], [0, 1], "token 101 is outside the vocabulary"),
        ([-1], [0], [0, 1], "token -1 is outside"),
        ([0], [POSITIONS], [0, 1], "position 96 is beyond the model's 96"),
        ([0], [0], [0, 2], "offsets do not cover"),
        ([0] * 97, [0] * 97, [0, 97], "longer than its cache"),
    ],
)
def test_wrong_callers_are_told(tokens: list[int], positions: list[int], offsets: list[int], message: str) -> None:
    opened = model().reader().open(1, POSITIONS)
    logits = np.zeros((1, VOCAB), np.float32)
    with pytest.raises(ValueError, match=message):
        opened.step(np.array(tokens, np.int32), np.array(positions, np.int32), np.array(offsets), logits)


def test_precisions_have_names() -> None:
    with pytest.raises(ValueError, match="this processor has no mmx"):
        Reader(model().reader_tensors(), model().architecture_config(), "int8", "mmx").open(1, 8)
    with pytest.raises(ValueError, match="there are float32, bfloat16, int8"):
        model().reader("float16")


def test_what_no_memory_could_hold_is_refused() -> None:
    reader = model().reader()
    for count, capacity in ((1, 2**64 - 1), (1, 2**64 - 32), (1, 2**40), (2**60, 8), (2**32, 8)):
        with pytest.raises(ValueError, match="count must be at most 1048576, capacity at most 268435456"):
            reader.open(count, capacity)
    for count, capacity in ((-1, 8), (1, -1), (1, 2**64)):
        with pytest.raises(TypeError):
            reader.open(count, capacity)
    tensors = {name: tensor.detach().numpy() for name, tensor in model().reader_tensors().items()}
    right = {"vocab": VOCAB, "positions": POSITIONS, "width": 48, "layers": 2, "heads": 4, "kv_heads": 4, "inner": 192}
    wrong = [*((name, 0) for name in right), ("kv_heads", 3), ("kv_heads", 2)]
    for name, value in [*wrong, ("heads", 2**63), ("width", 2**63), ("inner", 2**63), ("vocab", 2**63)]:
        with pytest.raises(ValueError, match=r"no size|divide|another shape"):
            _reader.Model(tensors, precision="float32", **(right | {name: value}))


def test_a_capacity_beyond_the_positions_takes_no_memory() -> None:
    opened = model().reader().open(1, 2**28)
    logits = np.zeros((1, VOCAB), np.float32)
    opened.step(TOKENS[0], np.arange(80, dtype=np.int32), np.array([0, 80]), logits)
    assert np.array_equal(logits[0], read(model().reader(), [TOKENS[0]], [80])[-1, 0])
    with pytest.raises(ValueError, match="sequence 0 is longer than its cache"):
        opened.step(TOKENS[0, :17].copy(), np.arange(17, dtype=np.int32), np.array([0, 17]), logits)


@pytest.mark.parametrize("native", [True, False])
def test_two_threads_cannot_use_the_same_sequences(native: bool) -> None:
    made = model(width=128, layers=6)
    reader = made.reader() if native else ForwardReader(made)
    tokens, positions = TOKENS[:4].ravel(), np.tile(np.arange(80, dtype=np.int32), 4)
    refused: list[str] = []

    def use(opened: Any, barrier: threading.Barrier) -> None:
        logits = np.zeros((4, VOCAB), np.float32)
        barrier.wait()
        try:
            opened.step(tokens, positions, np.arange(5) * 80, logits)
        except RuntimeError as error:
            refused.append(str(error))
        except ValueError:  # it came later: the sequences are full
            pass

    for _ in range(50):
        opened, barrier = reader.open(4, POSITIONS), threading.Barrier(2)
        threads = [threading.Thread(target=use, args=(opened, barrier)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if refused:
            break
    assert set(refused) == {"Sequences: another thread is using it. Make one for each thread."}


def in_a_child(work: Callable[[], str]) -> str:
    """What ``work`` says in a process that is forked from this one; nothing if it dies, "hangs" after 20 s."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, work().encode())
        finally:
            os._exit(0)
    os.close(writing)
    said = os.read(reading, 1 << 16).decode() if select.select([reading], [], [], 20)[0] else "hangs"
    os.close(reading)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return said


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("threads", "said"),
    [
        (
            3,
            "Sequences: they were opened in another process, whose threads a fork leaves behind. "
            "Open them in the process that reads.",
        ),
        (1, "read"),
    ],
    indirect=["threads"],
)
def test_sequences_whose_threads_a_fork_left_behind_are_refused(threads: int, said: str) -> None:
    opened = [model(width=256).reader().open(1, POSITIONS)]
    logits = np.zeros((1, VOCAB), np.float32)
    opened[0].step(TOKENS[0, :60].copy(), np.arange(60, dtype=np.int32), np.array([0, 60]), logits)
    one = (TOKENS[0, 60:61].copy(), np.array([60], np.int32), np.array([0, 1]))

    def read_on() -> str:
        again = np.zeros((1, VOCAB), np.float32)
        copy = opened[0].fork(np.array([0]))
        copy.step(*one, again)
        copied = again.tobytes()
        try:
            opened[0].step(*one, again)
            outcome = "read"
        except RuntimeError as error:
            outcome = str(error)
        opened.clear()  # which waits for no thread either
        return outcome + "\n" + copied.hex()

    outcome, _, copied = in_a_child(read_on).partition("\n")
    assert outcome == said
    opened[0].step(*one, logits)
    assert copied == logits.tobytes().hex()


@pytest.mark.unsanitized
@pytest.mark.parametrize(("tokens", "made"), [(1, 0), (60, 2)])
def test_threads_start_for_steps_that_are_worth_them(tokens: int, made: int) -> None:
    reader = model(width=256).reader()

    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    def started() -> str:
        torch.set_num_threads(3)
        others = threads()
        opened = reader.open(1, POSITIONS)
        logits = np.zeros((1, VOCAB), np.float32)
        opened.step(TOKENS[0, :tokens].copy(), np.arange(tokens, dtype=np.int32), np.array([0, tokens]), logits)
        return str(threads() - others)

    assert in_a_child(started) == str(made)


@pytest.mark.unsanitized
def test_fewer_threads_than_asked_for_read_the_same() -> None:
    reader = model(width=256).reader()

    def threads() -> set[str]:
        return {path.name for path in Path("/proc/self/task").iterdir()}

    def read(room: int) -> str:
        torch.set_num_threads(24)
        # By their ids: one of the others may end meanwhile.
        others = threads()
        if room:
            held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (held + room, resource.RLIM_INFINITY))
        opened = reader.open(1, POSITIONS)
        logits = np.zeros((1, VOCAB), np.float32)
        opened.step(TOKENS[0, :60].copy(), np.arange(60, dtype=np.int32), np.array([0, 60]), logits)
        return f"{len(threads() - others)} {logits.tobytes().hex()}"

    all_made, said = in_a_child(lambda: read(0)).split()
    # Stacks of threads that have ended are used again, but not so many: one is made, another not.
    few_made, said_by_few = in_a_child(lambda: read(16 << 20)).split()
    assert int(all_made) == 23
    assert int(few_made) < 23
    assert said_by_few == said


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_steps_of_several_sequences_read_in_one_batch_give_their_own_bits(architecture: str) -> None:
    tensors = model(architecture)
    reader = tensors.reader("float32")
    assert isinstance(reader, Reader)
    rng = np.random.default_rng(3)
    shapes = [(1, [7, 1, 1]), (3, [40, 1, 2]), (2, [1, 33, 1])]
    whole = [[rng.integers(0, VOCAB, sum(chunks), dtype=np.int32) for _ in range(count)] for count, chunks in shapes]
    alone = [read(reader, sequences, chunks) for sequences, (_, chunks) in zip(whole, shapes, strict=True)]
    batch = reader.batch()
    opened = [reader.open(count, POSITIONS - 3 * index) for index, (count, _) in enumerate(shapes)]
    logits = [np.zeros((count, VOCAB), np.float32) for count, _ in shapes]
    starts = [0, 0, 0]
    for turn in range(3):
        steps = []
        for index, (count, chunks) in enumerate(shapes):
            run = slice(starts[index], starts[index] + chunks[turn])
            tokens = np.concatenate([sequence[run] for sequence in whole[index]])
            positions = np.tile(np.arange(run.start, run.stop, dtype=np.int32), count)
            offsets = np.arange(count + 1, dtype=np.int64) * chunks[turn]
            steps.append((opened[index], tokens, positions, offsets, logits[index]))
            starts[index] = run.stop
        batch.step(steps)
        for index in range(3):
            assert np.array_equal(logits[index], alone[index][turn])


def test_a_wrong_step_ends_a_batch_before_anything_is_read() -> None:
    reader = model().reader("float32")
    assert isinstance(reader, Reader)
    good, bad, logits = reader.open(1, 8), reader.open(1, 8), np.zeros((1, VOCAB), np.float32)
    one = (np.array([5], np.int32), np.array([0], np.int32), np.array([0, 1]), logits)
    unknown = (np.array([VOCAB], np.int32), *one[1:])
    with pytest.raises(ValueError, match="outside the vocabulary"):
        reader.batch().step([(good, *one), (bad, *unknown)])
    assert not logits.any()
    with pytest.raises(ValueError, match="of another model"):
        model().reader("float32").batch().step([(good, *one)])
    with pytest.raises(RuntimeError, match="another thread is using it"):
        reader.batch().step([(good, *one), (good, *one)])
    good.step(*one)
    assert logits.any()
