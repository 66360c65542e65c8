"""The encoder component: encodes batches of windows to tokens and decodes tokens to scores."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import attrs
import numpy as np

from midigpt_core.contracts import AttributeInfo, Encoder
from midigpt_core.corpus import metadata
from midigpt_core.errors import EncodingError
from midigpt_core.plugins.attributes import compute_levels
from midigpt_core.records import SEQUENCE, NoteGrid, ScoreColumns, TokenBatch, TokenStatus, Vocabulary
from midigpt_core.score import Score
from midigpt_core.score.window_notes import WindowNotes
from midigpt_encoder import _encoder
from midigpt_encoder.bar_notes import notes_of
from midigpt_encoder.config import EncoderConfig, genre_key

if TYPE_CHECKING:
    from midigpt_core.contracts import PluginAttribute
    from midigpt_core.records import BarNotes, BoolArray, Corpus, GrammarRequest, Int16Array, Int32Array, WindowBatch


class MidigptGrammar(_encoder.Grammar):
    """See :class:`~midigpt_core.contracts.Grammar`."""

    def start(self, batch: TokenBatch, request: GrammarRequest) -> None:
        try:
            super().start(batch, request)
        except ValueError as error:
            raise EncodingError(f"{error}. Write fewer bars, or use a narrower window.") from error


class MidigptEncoder(Encoder):
    """Encodes with one :class:`EncoderConfig`. Immutable and thread-safe."""

    def __init__(self, config: EncoderConfig, threads: int = 1) -> None:
        self.config = config
        #: Native threads of one :meth:`encode_batch`; the tokens do not depend on it.
        self.threads = threads
        self._corpora: WeakKeyDictionary[Corpus, _encoder.Corpus] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type[MidigptEncoder], tuple[EncoderConfig, int]]:
        return type(self), (self.config, self.threads)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The token ids by type."""
        codebook = self.config.codebook
        numbers = {name: number for number, name, _, _ in _encoder.token_types()}
        ours = self.config.attributes
        numbers |= {attribute.name: _encoder.FIRST_EXTERNAL + index for index, attribute in enumerate(ours)}
        names = [""] * (max(numbers.values()) + 1)
        for name, number in numbers.items():
            names[number] = name
        domains = [*codebook.domains, *((attribute.name, attribute.levels) for attribute in ours)]
        sizes = [size for _, size in domains]
        return Vocabulary(
            size=codebook.vocab_size,
            type_names=tuple(names),
            type_of=np.repeat(np.array([numbers[name] for name, _ in domains], np.uint8), sizes),
            value_of=np.concatenate([np.arange(size, dtype=np.int32) for size in sizes]),
            attributes=tuple(name for name, _ in codebook.attributes),
        )

    @cached_property
    def provides(self) -> frozenset[str]:
        """``infill``, ``placeholder_positions``, ``mask_bar``, ``genre``, ``use_velocity``, ``use_microtiming``,
        ``nomml``, ``pitch_mask``, ``rhythm_mask`` and ``remix`` as configured."""
        types = {name for name, _ in self.config.codebook.domains}
        infill = self.config.supports_infill and {"FillInPlaceholder", "FillInStart", "FillInEnd"} <= types
        capabilities = {
            "infill": infill,
            "placeholder_positions": infill,
            "mask_bar": "MaskBar" in types,
            "genre": bool(self.config.genre_groups) and "Genre" in types,
            "use_velocity": self.config.switchable_velocity and "UseVelocity" in types,
            "use_microtiming": self.config.switchable_microtiming and "UseMicrotiming" in types,
            "nomml": not {"nomml", "nomml_fine"}.isdisjoint(self.vocabulary.attributes),
            "pitch_mask": "NoteOnset" in types,
            "rhythm_mask": {"NoteOnset", "TimeAbsolutePos"} <= types,
            "remix": {"NoteOnset", "TimeAbsolutePos"} <= types,
        }
        return frozenset(name for name, present in capabilities.items() if present)

    @property
    def infill_positions(self) -> str:
        return self.config.infill_positions or SEQUENCE

    def positions(self, tokens: Int32Array) -> Int32Array | None:
        if self.infill_positions == SEQUENCE:
            return None
        try:
            positions: Int32Array = _encoder.positions(self.config.codebook, tokens)
        except ValueError as error:
            raise EncodingError(f"{error}. Encode with the bundle's own encoder.") from error
        return positions

    @property
    def window_sizes(self) -> tuple[int, ...]:
        return tuple(sorted({size for size in self.config.num_bars_map if size > 0}))

    @cached_property
    def attributes(self) -> tuple[AttributeInfo, ...]:
        missing = {
            attribute.name: attribute.distribution for attribute in self.config.attributes if not attribute.target
        }
        return tuple(
            AttributeInfo(
                name=name,
                level=level,
                size=0 if name in missing else size,
                melodic=melodic,
                drum=drum,
                missing=missing.get(name, ""),
            )
            for name, level, size, melodic, drum in self.config.codebook.attribute_infos
        )

    @property
    def plugin_attributes(self) -> tuple[PluginAttribute, ...]:
        return self.config.attributes

    def to_config(self) -> dict[str, Any]:
        return self.config.to_dict()

    def accepts_signatures(self, numerators: Int32Array, denominators: Int32Array) -> BoolArray | None:
        if not self.config.time_signatures:
            return None
        listed = np.array(self.config.time_signatures, np.int64)
        given = np.asarray(numerators, np.int64) << 32 | np.asarray(denominators, np.int64)
        accepted: BoolArray = np.isin(given, listed[:, 0] << 32 | listed[:, 1])
        return accepted

    @property
    def time_signatures(self) -> tuple[tuple[int, int], ...]:
        return tuple(self.config.time_signatures)

    def genre_id(self, name: str) -> int:
        return self.config.genre_ids.get(genre_key(name), -1)

    def encode_batch(self, corpus: Corpus, windows: WindowBatch, max_tokens: Int32Array) -> TokenBatch:
        """See :class:`~midigpt_core.contracts.Encoder`. Releases the GIL.

        Raises TypeError or ValueError, naming field and window, if an array has the wrong dtype or shape or a window
        names a piece, bar or track that does not exist.
        """
        if windows.compute_attributes and self._computed:
            windows = attrs.evolve(windows, attribute_values=self._with_levels(corpus, windows))
        tokens, offsets, role, status, spans, positions = _encoder.encode_batch(
            self.config.codebook, self._native(corpus), windows, max_tokens, self.threads
        )
        return TokenBatch(
            tokens=tokens, offsets=offsets, role=role, status=status, masked_spans=spans, positions=positions
        )

    def compute_attributes(self, corpus: Corpus, windows: WindowBatch) -> Int16Array:
        """Attribute values int16[N, T, 1+B, K] of windows (as ``WindowBatch.attribute_values``), -1 where a control
        has no value. Raises the errors of :meth:`encode_batch`."""
        values: Int16Array = _encoder.compute_attributes(self.config.codebook, self._native(corpus), windows)
        self._add_levels(values, corpus, windows)
        return values

    @cached_property
    def _computed(self) -> list[tuple[int, PluginAttribute]]:
        """The attributes of plugins that can be computed, with their places on the K axis."""
        ours = self.config.attributes
        first = len(self.vocabulary.attributes) - len(ours)
        return [(first + index, attribute) for index, attribute in enumerate(ours) if attribute.target is not None]

    def _with_levels(self, corpus: Corpus, windows: WindowBatch) -> Int16Array:
        """The given attribute values, and those of plugins where none is given."""
        count, tracks, bars = windows.infill.shape
        shape = count, tracks, 1 + bars, len(self.vocabulary.attributes)
        values: Int16Array = np.full(shape, -1, np.int16)
        self._add_levels(values, corpus, windows)
        given = windows.attribute_values
        return values if given is None else np.where(given >= 0, given, values)

    def _add_levels(self, values: Int16Array, corpus: Corpus, windows: WindowBatch) -> None:
        """Write the levels of plugins' attributes into ``values`` int16[N, T, 1+B, K]: one call for each attribute."""
        if not self._computed:
            return
        notes = self.window_notes(corpus, windows)
        for place, attribute in self._computed:
            levels = compute_levels(attribute, notes)
            if attribute.level == "track":
                values[:, :, 0, place] = levels
            else:
                values[:, :, 1:, place] = levels

    def window_notes(self, corpus: Corpus, windows: WindowBatch) -> WindowNotes:
        found = _encoder.window_notes(self.config.codebook, self._native(corpus), windows)
        count, tracks, bars = windows.infill.shape
        return WindowNotes(
            resolution=self.config.resolution,
            shape=(count, tracks, bars),
            offsets=np.concatenate([[0], found["cell_ends"]]),
            onset=found["onset"],
            duration=found["duration"],
            pitch=found["pitch"],
            velocity=found["velocity"],
            num_bars=found["num_bars"].reshape(count, tracks),
            program=found["program"].reshape(count, tracks),
            drum=found["drum"].reshape(count, tracks).astype(np.bool_),
            numerator=found["numerator"].reshape(count, tracks, bars),
            denominator=found["denominator"].reshape(count, tracks, bars),
            metadata=lambda name: metadata.piece_metadata(corpus, name, windows.piece),
        )

    @property
    def note_grid(self) -> NoteGrid:
        sizes = dict(self.config.codebook.domains)
        return NoteGrid(
            resolution=self.config.resolution,
            positions=sizes.get("TimeAbsolutePos", 1),
            pitches=min(sizes.get("NoteOnset", 0), 128),
        )

    def bar_notes(self, corpus: Corpus, windows: WindowBatch) -> BarNotes:
        plain = attrs.evolve(windows, attribute_values=None, compute_attributes=False)
        batch = self.encode_batch(corpus, plain, np.zeros(len(windows), np.int32))
        if (batch.status != TokenStatus.OK).any():
            raise EncodingError("the encoder has no tokens for bars to remix. Remix other bars.")
        return notes_of(batch, self.vocabulary)

    def decode(self, tokens: Int32Array, *, resample: bool = True) -> Score:
        """Decode tokens to a score with ``decode_resolution`` ticks per quarter note.

        Without ``resample``, onsets and durations stay in ticks of the encoder's own resolution. Any sequence of known
        ids decodes. Raises EncodingError on a foreign id.
        """
        try:
            columns, attributes = _encoder.decode(self.config.codebook, tokens, resample)
        except ValueError as error:
            raise EncodingError(f"{error}. Decode with the encoder that made the tokens.") from error
        return Score(ScoreColumns(**columns), tuple(attributes))

    def grammar(self) -> MidigptGrammar:
        return MidigptGrammar(self.config.codebook)

    def _native(self, corpus: Corpus) -> _encoder.Corpus:
        """The corpus for native code, checked once and cached as long as the corpus exists."""
        native = self._corpora.get(corpus)
        if native is None:
            native = self._corpora[corpus] = _encoder.Corpus(corpus.shards, corpus.piece_offsets)
        return native
