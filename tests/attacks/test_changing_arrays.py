"""Arrays that another thread changes while native code reads them: an answer or an exception, never a crash.

Each case runs in a process of its own, which would die.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import itertools, threading, time
import numpy as np

def hammer(array, wrong, call, seconds=0.3):
    # Turns `array` into nonsense and back while `call` reads it; both run without the GIL for most of the time.
    right, ends = array.copy(), time.monotonic() + seconds
    def change():
        # A thread gives the GIL away where a loop goes round: here with either content.
        for content in itertools.cycle((wrong, right)):
            array[...] = content
            if time.monotonic() >= ends:
                break
        array[...] = right
    thread = threading.Thread(target=change)
    thread.start()
    answers = refusals = 0
    while thread.is_alive():
        try:
            call()
            answers += 1
        except (ValueError, IndexError):
            refusals += 1
    thread.join()
    print("answers" if answers else "", "refusals" if refusals else "")

"""

_COLUMNS = """
import attrs
from midigpt_core import _native
from midigpt_core.score.columns import in_memory_corpus
from midigpt_core.testing import music
score = music.scores()[0]
corpus = in_memory_corpus([score] * 300)
shard = corpus.shards[0]
held = {name: np.array(getattr(shard.columns, name)) for name in ("track_offsets", "cell_bar", "cell_note_end")}
columns = attrs.evolve(shard.columns, **held)
"""

_CASES = {
    "fill_rows": """
from midigpt_core._native import fill_rows
count, length = 4000, 64
offsets = np.arange(count + 1, dtype=np.int64) * 16
rows = (np.arange(count) // 4).astype(np.int32)
out = [np.zeros(count // 4 * length, kind) for kind in (np.int64, np.int64, np.int64, np.int32, np.uint8)]
tokens, role = np.zeros(count * 16, np.int32), np.zeros(count * 16, np.uint8)
names = ("input_ids", "labels", "position_ids", "document_ids", "row_role")
given = dict(tokens=tokens, positions=tokens.copy(), role=role, offsets=offsets, rows=rows, row_length=length)
given |= dict(zip(names, out))
call = lambda: fill_rows(**given)
call()
hammer(rows[1:], 2**31 - 1, call)
hammer(offsets[1:], 2**62, call)
""",
    "best_fit": """
from midigpt_core._native import best_fit
lengths, rows = np.arange(100_000, dtype=np.int64) % 60, np.zeros(100_000, np.int32)
wrong = np.arange(100_000, dtype=np.int64)[::-1] - 2**61
hammer(lengths, wrong, lambda: best_fit(lengths, num_rows=2000, row_length=64, rows=rows))
""",
    "draw": _COLUMNS
    + """
sampler = _native.WindowSampler([columns], sizes=[4], min_tracks=1, max_tracks=2, min_fill_ratio=0.5)
pieces, keys = np.arange(300, dtype=np.int64), np.arange(300, dtype=np.uint64)
out = [np.zeros(300, np.int32), np.zeros(300, np.int32), np.zeros(600, np.int32), np.zeros(300, np.uint8)]
names = ("start_bar", "num_bars", "tracks", "status")
call = lambda: sampler.draw(pieces, keys, **dict(zip(names, out)))
call()
hammer(pieces, 2**62, call)
hammer(held["track_offsets"], 2**62, call)
hammer(held["cell_bar"], -(2**31), call)
""",
    "encode_batch": _COLUMNS
    + """
from midigpt_core.records import Corpus
from midigpt_core.testing.music import windows
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder
encoder = MidigptEncoder(EncoderConfig.from_preset("yellow"))
changed = Corpus([attrs.evolve(shard, columns=columns)], corpus.piece_offsets)
asked = windows(range(300), 4, 2)
limits = np.zeros(300, np.int32)
call = lambda: encoder.encode_batch(changed, asked, limits)
call()
hammer(asked.piece, 2**62, call)
hammer(asked.tracks, 2**31 - 1, call)
hammer(asked.start_bar, -(2**31), call)
hammer(held["track_offsets"], 2**62, call)
hammer(held["cell_bar"], 2**31 - 1, call)
hammer(held["cell_note_end"], 2**31 - 1, call)
""",
    "grammar": """
import attrs
from midigpt_core.records import TokenBatch, GrammarRequest
from midigpt_core.score.columns import in_memory_corpus
from midigpt_core.testing import music
from midigpt_core.testing.music import windows
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder
encoder = MidigptEncoder(EncoderConfig.from_preset("yellow"))
asked = windows(range(1), 4, 2)
cells = np.zeros((1, 2, 4), bool)
cells[0, 1, 1] = True
score = music.scores()[0]
from midigpt_core.score import editing
blank = editing.replace_cells(score, np.ones((len(score.tracks), editing.num_bars(score)), bool))
one = encoder.encode_batch(in_memory_corpus([blank]), attrs.evolve(asked, infill=cells), np.zeros(1, np.int32))
count = 60
batch = TokenBatch(
    tokens=np.tile(one.tokens, count),
    offsets=np.arange(count + 1, dtype=np.int64) * len(one.tokens),
    role=np.tile(one.role, count),
    status=np.zeros(count, np.uint8),
    masked_spans=np.zeros((0, 3), np.int64),
)
none = np.zeros(count, np.int32)
request = GrammarRequest(
    cells=np.repeat(cells, count, axis=0), choose_attributes=np.zeros(count, bool),
    max_tokens=none, max_notes=none, max_polyphony=none,
)
from midigpt_encoder import _encoder
grammar = _encoder.Grammar(encoder.config.codebook)
call = lambda: grammar.start(batch, request)
call()
hammer(batch.tokens, 2**31 - 1, call)
hammer(batch.offsets, 2**62, call)
""",
    "sequences": """
from midigpt_gpt2.factory import build
from midigpt_gpt2.options import Gpt2Options
from midigpt_core.contracts import ArchitectureContext
model = build(Gpt2Options(n_embd=32, n_layer=2, n_head=2), ArchitectureContext(vocab_size=50, max_seq_len=64))
reader = model.reader()
tokens, positions = np.zeros(256, np.int32), np.tile(np.arange(64, dtype=np.int32), 4)
offsets, logits = np.arange(5, dtype=np.int64) * 64, np.zeros((4, 50), np.float32)
call = lambda: reader.open(4, 64).step(tokens, positions, offsets, logits)
call()
hammer(tokens, 2**31 - 1, call)
hammer(positions, -(2**31), call)
hammer(offsets[1:-1], 2**62, call)
""",
    "read_batch": """
from midigpt_core._native import read_batch
from midigpt_core.testing import music
import tempfile, pathlib
path = pathlib.Path(tempfile.mkdtemp()) / "a.mid"
music.scores()[0].to_midi(path)
file = np.frombuffer(path.read_bytes(), np.uint8)
data, offsets = np.tile(file, 200), np.arange(201, dtype=np.int64) * len(file)
hammer(offsets[1:], 2**62, lambda: read_batch(data, offsets, 1))
""",
}


@pytest.mark.parametrize("name", sorted(_CASES))
def test_arrays_that_change_meanwhile_crash_nothing(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT + _CASES[name]], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "answers" in done.stdout
    assert "refusals" in done.stdout
