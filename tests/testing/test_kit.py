"""The kit finds what it is there to find: each broken promise fails its own check and no other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from midigpt_core.errors import PluginError
from midigpt_core.plugins import Selection
from midigpt_core.plugins.discovery import discover
from midigpt_core.testing import checks_of, encoders, general

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLUGIN = """
from midigpt_core import hookimpl
from midigpt_core.components import {spec}

MIDIGPT_API = 1

@hookimpl
def {hook}():
    return [{spec}(name="local", summary="x", target="kitpart:build", options="kitpart:Options")]
"""

MASK = """
import attrs
import numpy as np

@attrs.frozen
class Options:
    depth: int = 1

class Mask:
    calls = 0

    def mask(self, valid, infill, keys):
        Mask.calls += 1
        return {masked}

def build(options, context):
    return Mask()
"""

SOURCE = """
import attrs
import numpy as np
import pyarrow as pa
from midigpt_core.contracts import RowBatch

@attrs.frozen
class Options:
    pass

class Shard:
    name = "s"
    def fingerprint(self): return {fingerprint}
    def num_rows(self): return {rows}
    def batches(self):
        yield RowBatch(row=np.array([0, 2]), ids=pa.array(["a", "b"]), midi=pa.array([b"x", b"y"], {midi}),
                       dropped={{"no_notes": 1}})

class Source:
    def shards(self): return [Shard()]

def build(options, context):
    return Source()
"""


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., set[str]]]:
    """The ids of the checks, all or ``only`` those that begin so, that a plugin of two files fails."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(plugin: str, component: str, only: str = "") -> set[str]:
        (tmp_path / "kitlocal.py").write_text(plugin)
        (tmp_path / "kitpart.py").write_text(component)
        failed = set()
        checks = checks_of("kitlocal", plugin_dirs=[str(tmp_path)])
        for check in [check for check in checks if check.id.startswith(only)]:
            try:
                check()
            except Exception:  # noqa: BLE001 (whatever the broken component raises is the finding)
                failed.add(check.id)
        return failed

    yield run
    sys.modules.pop("kitlocal", None)
    sys.modules.pop("kitpart", None)


MASK_PLUGIN = PLUGIN.format(spec="MaskSpec", hook="midigpt_masks")
SOURCE_PLUGIN = PLUGIN.format(spec="SourceSpec", hook="midigpt_sources")


@pytest.mark.parametrize(
    ("masked", "broken"),
    [
        ("valid & False", set()),
        ("~infill", {"masks-only-valid-bars-outside-the-infill"}),
        ("valid.copy()", {"masks-only-valid-bars-outside-the-infill"}),
        ("(valid & ~infill).astype(np.uint8)", {"masks-only-valid-bars-outside-the-infill"}),
        ("valid & ~infill & (Mask.calls % 2 == 0)", {"equal-keys-mask-equal-bars"}),
        ("valid & ~infill & (np.arange(len(keys)) == 0)[:, None, None]", {"equal-keys-mask-equal-bars"}),
        ("np.logical_and(valid, ~infill, out=valid)", {"leaves-its-arguments-alone"}),
        ("valid & (keys[0] < 0)", {"takes-an-empty-batch"}),
    ],
)
def test_masks(failing: Callable[..., set[str]], masked: str, broken: set[str]) -> None:
    assert failing(MASK_PLUGIN, MASK.format(masked=masked), "mask-") == {f"mask-local-{check}" for check in broken}


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({}, {"a-path-that-leads-nowhere-is-refused"}),
        ({"rows": "2"}, {"every-row-is-accounted-for"}),
        (
            {"fingerprint": "str(id(self))"},
            {"shards-are-stable", "shards-can-be-sent-to-another-process"},
        ),
        ({"midi": "pa.string()"}, {"batches-have-the-right-columns"}),
    ],
)
def test_sources(failing: Callable[..., set[str]], change: dict[str, str], broken: set[str]) -> None:
    parts = {"rows": "3", "fingerprint": "'f'", "midi": "pa.large_binary()"} | change
    expected = broken | {"a-path-that-leads-nowhere-is-refused"}
    assert failing(SOURCE_PLUGIN, SOURCE.format(**parts), "source-") == {f"source-local-{check}" for check in expected}


ARCHITECTURE = """
import torch
from attrs import frozen
from midigpt_gpt2.model import Gpt2
from midigpt_gpt2.options import Gpt2Options

@frozen(kw_only=True)
class Options(Gpt2Options):
    n_embd: int = 32
    n_layer: int = 1
    n_head: int = 2

class Model(Gpt2):
    def forward(self, input_ids, position_ids=None, document_ids=None, cache=None):
        return super().forward(input_ids, {positions}, document_ids, cache)

    def reader(self, precision="float32"):
        return {reader}

def build(options, context):
    return Model(options, vocab_size=context.vocab_size, n_positions=context.max_seq_len)
"""
ARCHITECTURE_PLUGIN = PLUGIN.format(spec="ArchitectureSpec", hook="midigpt_architectures")

ENCODER = """
import attrs
import numpy as np
from midigpt_encoder.encoder import MidigptEncoder, MidigptGrammar
from midigpt_encoder.factory import EncoderOptions, build as build_encoder

class Options(EncoderOptions):
    pass

class Encoder(MidigptEncoder):
    {method}

def build(options, context):
    made = build_encoder(options, context)
    return Encoder(made.config, made.threads)
"""
ENCODER_PLUGIN = PLUGIN.format(spec="EncoderSpec", hook="midigpt_encoders")


@pytest.mark.parametrize(
    ("positions", "reader", "kept"),
    [
        ("position_ids", "super().reader(precision)", True),
        ("position_ids", "None", True),
        ("None", "super().reader(precision)", False),
        ("None if document_ids is not None else position_ids", "super().reader(precision)", False),
        ("None if cache is not None else position_ids", "None", False),
    ],
)
def test_positions_of_an_architecture(
    failing: Callable[..., set[str]], positions: str, reader: str, kept: bool
) -> None:
    plugin = ARCHITECTURE_PLUGIN.replace("options=", 'provides={"placeholder_positions", "kv_cache"}, options=')
    found = failing(plugin, ARCHITECTURE.format(positions=positions, reader=reader), "architecture-local-positions")
    assert found == (set() if kept else {"architecture-local-positions-are-taken-as-they-are-given"})


@pytest.mark.parametrize(
    ("method", "kept"),
    [
        ("pass", True),
        ("def positions(self, tokens): return None", False),
        ("def positions(self, tokens): return np.arange(len(tokens), dtype=np.int32)", False),
        ("infill_positions = 'sequence'", False),
        ("def to_config(self): return dict(super().to_config(), infill_positions='sequence')", False),
        ("def grammar(self): return MidigptGrammar(attrs.evolve(self.config, infill_positions=None).codebook)", False),
    ],
)
def test_positions_of_an_encoder(failing: Callable[..., set[str]], method: str, kept: bool) -> None:
    found = failing(ENCODER_PLUGIN, ENCODER.format(method=method), "encoder-local-positions")
    assert found == (set() if kept else {"encoder-local-positions-of-filled-bars-are-one-thing"})


#: Changes notes (bar, onset in 1,920ths of a quarter, duration, pitch, …) and bars (numerator, denominator, length).
DECODE = """
    def decode(self, tokens):
        from midigpt_core.score import Score
        content = super().decode(tokens).to_dict()
        last = len(content["bars"]) - 1
        for track in content["tracks"]:
            notes = track["notes"]
            track["notes"] = {notes}
        content["bars"] = [{bar} for bar in content["bars"]]
        return Score.from_dict(content)
"""
ENCODE = """
    def encode_batch(self, corpus, windows, max_tokens):
        import sys
        return super().encode_batch(corpus, attrs.evolve(windows, {change}), max_tokens)
"""


@pytest.mark.parametrize(
    ("method", "broken"),
    [
        (DECODE.format(notes="notes", bar="bar"), set()),
        (
            DECODE.format(
                notes="[[min(note[0] + 1, last), 0, *note[2:]] if note[1] > 7000 else note for note in notes]",
                bar="bar",
            ),
            {"late-onsets-stay-in-their-bar"},
        ),
        (
            DECODE.format(notes="[note for note in notes if note[2] <= 4 * 1920]", bar="bar"),
            {"notes-that-outlast-their-bar-are-kept"},
        ),
        (
            DECODE.format(
                notes="notes + [[bar, 0, 9, 60, 80, 0] for bar in range(last + 1) if bar not in [n[0] for n in notes]]",
                bar="bar",
            ),
            {"empty-bars-stay-empty"},
        ),
        (
            DECODE.format(notes="[note for note in notes if [n[:2] for n in notes].count(note[:2]) < 16]", bar="bar"),
            {"chords-keep-their-notes"},
        ),
        (DECODE.format(notes="notes", bar="bar if bar[1] != 8 else [4, 4, 4.0]"), {"signatures-are-kept"}),
        (
            ENCODE.format(change="start_bar=np.minimum(windows.start_bar, 255)"),
            {"a-window-late-in-a-long-piece-is-itself"},
        ),
        (
            ENCODE.format(change="transpose=windows.transpose + ('midigpt_core.testing.encoders' not in sys.modules)"),
            {"other-processes-write-the-same-tokens"},
        ),
    ],
)
def test_what_an_encoder_does_to_music(failing: Callable[..., set[str]], method: str, broken: set[str]) -> None:
    found = failing(ENCODER_PLUGIN, ENCODER.format(method=method), "encoder-local-")
    assert found == {f"encoder-local-{check}" for check in broken}


#: A grammar, with what goes wrong in it.
GRAMMAR = """
    def grammar(self):
        class Grammar(MidigptGrammar):
            {method}
        return Grammar(self.config.codebook)
"""
BATCH = """
    def encode_batch(self, corpus, windows, max_tokens):
        batch = super().encode_batch(corpus, windows, max_tokens)
        return attrs.evolve(batch, {change})
"""


@pytest.mark.parametrize(
    ("method", "broken"),
    [
        (
            "vocabulary = property(lambda self: attrs.evolve(MidigptEncoder.vocabulary.func(self), "
            "value_of=np.zeros(self.config.codebook.vocab_size, np.int32)))",
            {"vocabulary-describes-every-token"},
        ),
        (
            BATCH.format(change="status=np.ones_like(batch.status)"),
            {"tokens-are-within-the-vocabulary"},
        ),
        (BATCH.format(change="role=1 - batch.role"), {"roles-say-what-is-asked-for"}),
        (
            """
    def encode_batch(self, corpus, windows, max_tokens):
        transpose = windows.transpose + 2 * (len(windows) > 2)
        return super().encode_batch(corpus, attrs.evolve(windows, transpose=transpose.astype(np.int32)), max_tokens)
""",
            {"a-batch-is-its-windows-one-by-one"},
        ),
        (
            """
    def encode_batch(self, corpus, windows, max_tokens):
        return super().encode_batch(corpus, windows, np.zeros_like(max_tokens))
""",
            {"no-document-is-longer-than-allowed"},
        ),
        (
            """
    def encode_batch(self, corpus, windows, max_tokens):
        higher = windows.transpose + np.int32(1)
        return super().encode_batch(corpus, attrs.evolve(windows, transpose=higher), max_tokens)
""",
            # Every other check compares pitches with those of its music.
            {
                "decoding-and-encoding-again-settles",
                "notes-that-outlast-their-bar-are-kept",
                "empty-bars-stay-empty",
                "chords-keep-their-notes",
                "late-onsets-stay-in-their-bar",
                "a-window-late-in-a-long-piece-is-itself",
            },
        ),
        (
            "def decode(self, tokens): return super().decode(np.clip(tokens, 0, self.vocab_size - 1))",
            {"decoding-refuses-a-foreign-token"},
        ),
        (
            GRAMMAR.format(method="def bars_written(self): return super().bars_written() * 0"),
            {"its-grammar-writes-the-bars-that-are-asked-for"},
        ),
        (
            "def to_config(self): return dict(super().to_config(), resolution=6)",
            {"its-configuration-builds-the-same-encoder"},
        ),
        ("def __reduce__(self): return (dict, ())", {"survives-pickling"}),
    ],
)
def test_what_an_encoder_promises(failing: Callable[..., set[str]], method: str, broken: set[str]) -> None:
    found = failing(ENCODER_PLUGIN, ENCODER.format(method=method), "encoder-local-")
    assert found == {f"encoder-local-{check}" for check in broken}


def test_every_check_of_encoders_is_broken_by_a_plugin_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    names = [name.removeprefix("check_").replace("_", "-") for name in vars(encoders) if name.startswith("check_")]
    assert len(names) > 15
    assert [name for name in names if f'"{name}"' not in source.replace("encoder-local-", "")] == []


def test_a_plugin_module_that_imports_numpy(failing: Callable[..., set[str]]) -> None:
    failed = failing("import numpy\n" + MASK_PLUGIN, MASK.format(masked="valid & False"))
    assert failed == {"kitlocal-imports-nothing-heavy"}


def test_options_that_need_values(failing: Callable[..., set[str]]) -> None:
    failed = failing(MASK_PLUGIN, MASK.format(masked="valid & False").replace("depth: int = 1", "depth: int"))
    assert "mask-local-options-need-no-values" in failed
    assert "kitlocal-references-survive-spawn" in failed


def test_a_target_that_is_not_there(failing: Callable[..., set[str]]) -> None:
    failed = failing(MASK_PLUGIN.replace("kitpart:build", "kitpart:bild"), MASK.format(masked="valid & False"))
    assert "mask-local-target-resolves" in failed


def test_a_module_without_a_version_and_a_distribution_of_another_name() -> None:
    """What only an installed plugin can be: one in a folder is found by both."""
    entry = next(entry for entry in discover(Selection()) if entry.name == "masking")
    general.plugin_states_its_api(entry)
    with pytest.raises(AssertionError, match=r"json\.decoder must state MIDIGPT_API = 1 in a line of its own"):
        general.plugin_states_its_api(attrs.evolve(entry, module="json.decoder"))
    foreign = attrs.evolve(entry, distribution="midigpt-plugin-veils", status="active")
    with pytest.warns(UserWarning, match="would be easier to find if it were named 'veils'"):
        general.plugin_is_named_after_its_distribution(foreign)


def test_an_unknown_plugin() -> None:
    with pytest.raises(PluginError, match="--plugin nobody: no such plugin"):
        checks_of("nobody")
