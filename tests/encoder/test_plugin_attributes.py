"""Attribute controls of plugins in the bundled encoder: tokens after its own, computed once for each batch."""

from __future__ import annotations

import json
from collections import Counter
from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
from midigpt_encoder import plugin_attributes
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.data_files import preset_names

from midigpt_core.components import AttributeSpec, ComponentRef
from midigpt_core.contracts import EncoderContext
from midigpt_core.corpus.build import build as build_corpus
from midigpt_core.corpus.select import SelectionLimits, select
from midigpt_core.corpus.store import open_corpus
from midigpt_core.data.datasets import batches
from midigpt_core.data.encoding import CheckedEncoder
from midigpt_core.data.settings import StreamSettings
from midigpt_core.data.stream import StreamSpec
from midigpt_core.errors import ComponentError, ConfigError, PluginError
from midigpt_core.plugins import Registry, Selection, build, load_registry, use_registry
from midigpt_core.plugins.registry import current_registry
from midigpt_core.records import TokenStatus
from support.corpus import GIGAMIDI, MIDI, write_shard
from support.encoder import corpus_of, piece, windows_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from midigpt_core.contracts import Encoder
    from midigpt_core.data.blocks import Block

LOCAL = """
import numpy as np
from midigpt_core import hookimpl
from midigpt_core.components import AttributeSpec
from midigpt_core.score.window_notes import levels

MIDIGPT_API = 1
CALLS = []

@hookimpl
def midigpt_attributes():
    at = "localattributes:"
    return [
        AttributeSpec(name="height", summary="mean pitch", target=at + "height", level="track", levels=128),
        AttributeSpec(name="busy", summary="notes", target=at + "busy", level="bar", levels=16, track_type="melodic"),
        AttributeSpec(name="century", summary="when", target=at + "century", level="track", levels=21),
        AttributeSpec(name="broken", summary="fails at one piece", target=at + "broken", level="track", levels=2),
        AttributeSpec(name="floating", summary="no levels", target=at + "floating", level="track", levels=2),
        AttributeSpec(name="large", summary="too high", target=at + "large", level="bar", levels=2),
    ]

def height(notes):
    CALLS.append(notes.shape)
    count = notes.per_track()
    return np.where(count > 0, notes.per_track(notes.pitch) / np.maximum(count, 1), -1).astype(int)

def busy(notes):
    return np.minimum(notes.per_bar(), 15)

def century(notes):
    year = notes.metadata("year")
    if year is None:
        return np.full(notes.shape[:2], -1)
    known = year.fill_null(-1).to_numpy()
    return np.tile(np.where(known < 0, -1, known // 100)[:, None], (1, notes.shape[1]))

def broken(notes):
    if (notes.per_track(notes.pitch == 1) > 0).any():
        raise RuntimeError("boom at pitch 1")
    return np.zeros(notes.shape[:2], int)

def floating(notes):
    return np.zeros(notes.shape[:2])

def large(notes):
    return np.full(notes.shape, 2)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugins")
    (path / "localattributes.py").write_text(LOCAL, encoding="utf-8")
    return path


@pytest.fixture
def registry(folder: Path) -> Iterator[Registry]:
    before = current_registry()
    found = load_registry(Selection(plugin_dirs=(str(folder),)))
    use_registry(found)
    yield found
    use_registry(before)


def encoder_ref(*names: str, preset: str | dict[str, Any] = "yellow") -> ComponentRef:
    return current_registry().resolve("encoder", {"name": "midigpt", "config": preset, "attributes": list(names)})


def encoder_with(*names: str, preset: str | dict[str, Any] = "yellow") -> Encoder:
    encoder: Encoder = build(encoder_ref(*names, preset=preset), EncoderContext())
    return encoder


def unlimited(count: int) -> np.ndarray:
    return np.zeros(count, np.int32)


@pytest.mark.usefixtures("registry")
class TestTokens:
    @pytest.mark.parametrize("preset", preset_names())
    def test_follow_the_vocabulary_of_every_preset(self, preset: str) -> None:
        plain, encoder = encoder_with(preset=preset), encoder_with("height", "busy", preset=preset)
        size = plain.vocab_size
        assert encoder.vocab_size == size + 128 + 16
        assert encoder.vocabulary.attributes == (
            *plain.vocabulary.attributes, "localattributes/height", "localattributes/busy",
        )  # fmt: skip
        assert np.array_equal(encoder.vocabulary.type_of[:size], plain.vocabulary.type_of)
        assert encoder.vocabulary.name(size + 60) == "localattributes/height(60)"
        assert encoder.vocabulary.name(size + 128 + 3) == "localattributes/busy(3)"
        assert plain.to_config().keys() == EncoderConfig.from_preset(preset).to_dict().keys()
        corpus, windows = corpus_of(piece()), windows_of([{"piece": 0, "tracks": [0, 1, 2], "bars": 4}])
        batch = encoder.encode_batch(corpus, windows, unlimited(1))
        expected = plain.encode_batch(corpus, windows, unlimited(1))
        assert batch.status.tolist() == expected.status.tolist() == [TokenStatus.OK]
        assert np.array_equal(batch.tokens[batch.tokens < size], expected.tokens)

    def test_stand_last_in_the_headers_of_tracks_and_bars(self) -> None:
        encoder = encoder_with("height", "busy")
        corpus, windows = corpus_of(piece()), windows_of([{"piece": 0, "tracks": [0], "bars": 4}])
        tokens = encoder.encode_batch(corpus, windows, unlimited(1)).tokens
        types = [encoder.vocabulary.name(token).partition("(")[0] for token in tokens]
        first_bar = types.index("Bar")
        assert types[first_bar - 1] == "localattributes/height"
        assert types[first_bar + 1 : first_bar + 3] == ["localattributes/busy", "TimeSig"]

    def test_are_read_back_by_name(self) -> None:
        encoder = encoder_with("height", "busy")
        corpus, windows = corpus_of(piece()), windows_of([{"piece": 0, "tracks": [0], "bars": 4}])
        tokens = encoder.encode_batch(corpus, windows, unlimited(1)).tokens
        values = encoder.compute_attributes(corpus, windows)
        assert values is not None
        (read,) = encoder.decode(tokens).attributes
        assert read["localattributes/height"] == values[0, 0, 0, -2] > 0
        assert [read[f"bar_localattributes/busy_{bar}"] for bar in range(4)] == values[0, 0, 1:, -1].tolist()


@pytest.mark.usefixtures("registry")
class TestLevels:
    def test_are_those_of_the_notes_that_are_written(self) -> None:
        """Transposed, on the encoder's grid; by the tracks that the control applies to."""
        encoder = encoder_with("height", "busy")
        corpus = corpus_of(piece())
        windows = windows_of([{"piece": 0, "tracks": [0, 1], "bars": 4}] * 2)
        moved = attrs.evolve(windows, transpose=np.array([0, 3], np.int32))
        values = encoder.compute_attributes(corpus, moved)
        notes = encoder.window_notes(corpus, moved)
        assert values is not None
        drum = notes.drum[0]
        height = values[:, :, 0, -2]
        assert ((height[1] - height[0]) == np.where(drum, 0, 3)).all()
        assert np.array_equal(
            values[:, :, 1:, -1], np.where(notes.drum[:, :, None], -1, np.minimum(notes.per_bar(), 15))
        )
        assert (values[:, :, 1:, -2] == -1).all()
        assert (values[:, :, 0, -1] == -1).all()

    def test_are_replaced_by_given_ones_and_dropped_like_those_of_the_encoder(self) -> None:
        encoder = encoder_with("height")
        corpus, windows = corpus_of(piece()), windows_of([{"piece": 0, "tracks": [0], "bars": 4}])
        count = len(encoder.vocabulary.attributes)
        given = np.full((1, 1, 5, count), -1, np.int16)
        given[0, 0, 0, -1] = 7
        written = encoder.encode_batch(corpus, attrs.evolve(windows, attribute_values=given), unlimited(1)).tokens
        assert encoder.vocab_size - 128 + 7 in written
        kept = np.ones((1, count), np.bool_)
        kept[0, -1] = False
        assert (encoder.encode_batch(corpus, windows, unlimited(1)).tokens >= encoder.vocab_size - 128).sum() == 1
        dropped = encoder.encode_batch(corpus, attrs.evolve(windows, attributes_kept=kept), unlimited(1)).tokens
        assert (dropped < encoder.vocab_size - 128).all()
        uncomputed = attrs.evolve(windows, compute_attributes=False)
        assert (encoder.encode_batch(corpus, uncomputed, unlimited(1)).tokens < encoder.vocab_size - 128).all()

    def test_are_computed_by_one_call_for_a_batch(self) -> None:
        encoder = encoder_with("height")
        corpus = corpus_of(piece())
        windows = windows_of([{"piece": 0, "tracks": [0, 1], "bars": 4}] * 50)
        calls = import_module("localattributes").CALLS
        calls.clear()
        encoder.encode_batch(corpus, windows, unlimited(50))
        assert calls == [(50, 2, 4)]

    def test_come_from_metadata(self, tmp_path: Path) -> None:
        path = write_shard(tmp_path / "a.parquet", [file.read_bytes() for file in MIDI[:3]], year=[1788, None, 1999])
        source = attrs.evolve(
            GIGAMIDI, options_class="midigpt_gigamidi.options:GigamidiOptions", options={"columns": ["year"]}
        )
        corpus = open_corpus(build_corpus(source, [str(path)], cache=tmp_path).shards).corpus
        encoder = encoder_with("century")
        windows = windows_of([{"piece": n, "tracks": [0], "bars": 1} for n in range(3)])
        values = encoder.compute_attributes(corpus, windows)
        assert values is not None
        assert values[:, 0, 0, -1].tolist() == [17, -1, 19]
        # A corpus without the column, such as a single score, has no levels.
        none = encoder.compute_attributes(corpus_of(piece()), windows_of([{"piece": 0, "tracks": [0], "bars": 1}]))
        assert none is not None
        assert none[0, 0, 0, -1] == -1


@pytest.mark.usefixtures("registry")
class TestErrors:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("broken", r"RuntimeError: boom at pitch 1"),
            ("floating", r"it returned an array of float64, not of integers"),
            ("large", r"it returned levels .*2; they are -1 for none and 0 to 1"),
        ],
    )
    def test_name_the_attribute_and_the_piece(self, name: str, message: str) -> None:
        content = piece(tracks=1)
        content["tracks"][0]["notes"][0][3] = 1
        corpus = corpus_of(piece(tracks=1), content)
        ref = encoder_ref(name)
        checked = CheckedEncoder(build(ref, EncoderContext()), ref, corpus, 1024)
        windows = windows_of([{"piece": n, "tracks": [0], "bars": 4} for n in range(2)])
        with pytest.raises(ComponentError, match=message) as raised:
            checked.encode(windows)
        assert raised.value.component.startswith(f"attribute control 'localattributes/{name}' of ")
        assert f"row {int(name == 'broken')}" in raised.value.where
        assert "bars 0 to 3" in raised.value.where

    @pytest.mark.parametrize("as_option", [True, False])
    def test_an_unknown_name_is_suggested(self, as_option: bool) -> None:
        with pytest.raises(
            (ConfigError, PluginError), match=r"no attribute control named 'heigth'\. Did you mean 'heig"
        ):
            if as_option:
                encoder_with("heigth")
            else:
                encoder_with(preset={"attributes": ["heigth"]})

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            (3, r"attributes\[0\]: 3 is not a string"),
            ({"name": "a/b"}, r"attributes\[0\]: has no 'distribution'"),
            ({"levels": 1}, r"attributes: a/b has 1 levels, it must have 2\.\.1024"),
            ({"levels": 1025}, r"attributes: a/b has 1025 levels"),
            ({"level": "piece"}, r"attributes\[0\]\.level: no level named 'piece'"),
            ({"name": "x" * 121}, r"attributes\[0\]\.name: has more than 120 characters"),
        ],
    )
    def test_a_wrong_entry_is_named(self, entry: Any, message: str) -> None:
        whole = {"name": "a/b", "distribution": "d", "level": "track", "levels": 4, "track_type": "both"}
        given = whole | entry if isinstance(entry, dict) and entry != {"name": "a/b"} else entry
        with pytest.raises(ConfigError, match=message):
            encoder_with(preset={"attributes": [given]})

    def test_a_name_twice(self) -> None:
        with pytest.raises(ConfigError, match=r"attributes: localattributes/busy is listed twice"):
            encoder_with("busy", "localattributes/busy")

    def test_a_record_must_be_sound(self) -> None:
        fields: dict[str, Any] = {"name": "x", "summary": "x", "target": "a:b", "level": "bar", "levels": 8}
        assert AttributeSpec(**fields).track_type == "both"
        for wrong in ({"level": "piece"}, {"levels": 1}, {"levels": 1025}, {"track_type": "all"}, {"options": "a:b"}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                AttributeSpec(**fields | wrong)


class TestBundles:
    def test_store_the_name_and_the_distribution(self, registry: Registry) -> None:
        config = encoder_with("height", "busy").to_config()
        entry = config["attributes"][1]
        assert entry == {
            "name": "localattributes/busy", "distribution": "localattributes", "level": "bar", "levels": 16,
            "track_type": "melodic",
        }  # fmt: skip
        again = encoder_with(preset=json.loads(json.dumps(config)))
        assert again.to_config() == config

    def test_without_the_plugin_tokens_stay_and_the_attribute_cannot_be_asked_for(
        self, registry: Registry, caplog: pytest.LogCaptureFixture
    ) -> None:
        encoder = encoder_with("height", "busy")
        config = json.loads(json.dumps(encoder.to_config()))
        use_registry(load_registry(Selection()))
        plugin_attributes._warn.cache_clear()
        without = encoder_with(preset=config)
        assert encoder_with(preset=config).to_config() == config
        told = [record.getMessage() for record in caplog.records]
        assert [message.split(" of ")[0].rpartition(" ")[2] for message in told] == [
            "localattributes/height", "localattributes/busy",
        ]  # fmt: skip
        assert without.vocabulary.type_names == encoder.vocabulary.type_names
        assert without.to_config() == config
        assert [(info.size, bool(info.missing)) for info in without.attributes[-2:]] == [(0, True)] * 2
        corpus, windows = corpus_of(piece()), windows_of([{"piece": 0, "tracks": [0], "bars": 4}])
        own = without.vocab_size - 128 - 16
        tokens = without.encode_batch(corpus, windows, unlimited(1)).tokens
        assert len(tokens)
        assert (tokens < own).all()
        values = without.compute_attributes(corpus, windows)
        assert values is not None
        assert (values[..., -2:] == -1).all()

    def test_a_plugin_with_other_levels_is_not_taken_for_it(
        self, registry: Registry, caplog: pytest.LogCaptureFixture
    ) -> None:
        config = json.loads(json.dumps(encoder_with("height").to_config()))
        config["attributes"][0]["levels"] = 12
        plugin_attributes._warn.cache_clear()
        encoder = encoder_with(preset=config)
        assert "is not as the model was trained with it" in caplog.text
        assert encoder.attributes[-1].missing
        assert encoder.vocab_size == encoder_with("height").vocab_size - 128 + 12


class TestStream:
    @pytest.fixture
    def spec(self, registry: Registry, tmp_path: Path) -> StreamSpec:
        path = write_shard(tmp_path / "a.parquet", [file.read_bytes() for file in MIDI])
        shards = build_corpus(GIGAMIDI, [str(path)], cache=tmp_path).shards
        ref = encoder_ref("height", "busy")
        encoder: Encoder = build(ref, EncoderContext())
        settings = StreamSettings(
            max_seq_len=512, num_bars_choices=(4,), attribute_dropout=0.3, mask_apply_probability=0.0
        )
        limits = SelectionLimits(min_bars=4, min_tracks=1, window_sizes=(4,), min_fill_ratio=0.75)
        return StreamSpec(
            shards=shards,
            pieces=select(open_corpus(shards), encoder, limits).pieces,
            encoder=ref,
            plugin_attributes=encoder.plugin_attributes,
            mask=None,
            settings=settings,
        )

    def test_is_the_same_in_workers_that_know_no_plugin(self, spec: StreamSpec) -> None:
        """Workers get the functions from the specification alone, and a resumed stream goes on with the same rows."""
        own = spec.open().encoder.vocab_size - 128 - 16
        assert (spec.open().block(0).batch.input_ids >= own).any()

        def rows(workers: int, first: int) -> list[np.ndarray]:
            arriving = batches(spec, batch_size=16, first_row=first, num_workers=workers)
            found = [next(arriving)["input_ids"].numpy().copy() for _ in range(6)]
            arriving.close()  # type: ignore[attr-defined]
            return found

        alone = rows(0, 0)
        use_registry(load_registry(Selection()))
        shared = rows(2, 0)
        assert all(np.array_equal(a, b) for a, b in zip(alone, shared, strict=True))
        resumed = rows(0, 32)
        assert all(np.array_equal(a, b) for a, b in zip(alone[2:], resumed, strict=False))

    def test_draws_what_it_drew_without_the_attributes(self, spec: StreamSpec) -> None:
        """The same windows, and the encoder's own attributes dropped in the same ones."""
        plain = attrs.evolve(spec, encoder=encoder_ref(), plugin_attributes=())
        own = plain.open().encoder.vocab_size
        ours, theirs = (self.by_window(one.open().block(0)) for one in (spec, plain))
        both = ours.keys() & theirs.keys()
        assert len(both) > 100
        # A document that is cut ends earlier with more tokens.
        equal = [np.array_equal(ours[one][ours[one] < own], theirs[one]) for one in both if len(ours[one]) < 400]
        assert len(equal) > 50
        assert all(equal)

    @staticmethod
    def by_window(block: Block) -> dict[tuple[int, int, int], np.ndarray]:
        """The tokens of the documents of a block by piece, first bar and place among those of the same window."""
        found: dict[tuple[int, int, int], np.ndarray] = {}
        place_in_row: Counter[int] = Counter()
        seen: Counter[tuple[int, int]] = Counter()
        rows = (getattr(block.documents, name).tolist() for name in ("row", "piece", "start_bar"))
        for row, where, start in zip(*rows, strict=True):
            ids = block.batch.input_ids[row]
            found[where, start, seen[where, start]] = ids[block.batch.document_ids[row] == place_in_row[row]]
            place_in_row[row] += 1
            seen[where, start] += 1
        return found
