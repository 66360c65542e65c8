"""What a built component must satisfy, kind by kind. Shapes use the legend of :mod:`midigpt_core.records`.

A factory is called as ``factory(options, context)``: ``options`` is an instance of the options class that the record
names (None without one), ``context`` one of the records below. Everything after that is a plain method call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from attrs import Factory, field, frozen

from midigpt_core.errors import ConfigError, EncodingError
from midigpt_core.files import blake3_of
from midigpt_core.records import SEQUENCE, TokenStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.nn import Parameter

    from midigpt_core.config import TrainConfig
    from midigpt_core.records import (
        BarNotes,
        BoolArray,
        Corpus,
        Figure,
        Float32Array,
        Float64Array,
        GeneratedMusic,
        GrammarRequest,
        Int16Array,
        Int32Array,
        Int64Array,
        NoteGrid,
        TokenBatch,
        UInt64Array,
        Vocabulary,
        WindowBatch,
    )
    from midigpt_core.score import Score
    from midigpt_core.score.window_notes import WindowNotes


# --- sources -------------------------------------------------------------------------------------------------------


class Remember(Protocol):
    """Remembers facts about files between runs."""

    def __call__(
        self,
        path: Path,
        name: str,
        compute: Callable[[], str],
        is_usable: Callable[[str], bool] = ...,
        /,
    ) -> str:
        """``compute()``, or what an earlier run remembered under ``name`` if the file has not changed since and
        ``is_usable`` accepts it. Raises what ``compute`` raises."""


def _computed(
    path: Path, name: str, compute: Callable[[], str], is_usable: Callable[[str], bool] = lambda _: True, /
) -> str:
    return compute()


@frozen(kw_only=True)
class SourceContext:
    """What a source reads."""

    #: Files, folders or globs as the user gave them.
    paths: tuple[str, ...]
    #: BLAKE3 of a file, hexadecimal, for fingerprints. The corpus builder passes a function that caches hashes between
    #: runs.
    hash_file: Callable[[Path], str] = blake3_of
    #: ``remember(path, name, compute, is_usable)`` is ``compute()``: something about a file's content that a
    #: fingerprint needs and that takes long to find out. The corpus builder passes a function that keeps it between
    #: runs, under ``name``, until the file changes. A remembered text that ``is_usable`` (optional) rejects is computed
    #: again and replaced. Raises what ``compute`` raises.
    remember: Remember = _computed


@frozen(eq=False, kw_only=True)
class RowBatch:
    """Rows of a shard that passed the row filter, in the order of the file."""

    #: int64[n], row numbers within the shard.
    row: Int64Array
    #: Names of the rows: Arrow string array, null where the source has none.
    ids: pa.Array
    #: MIDI files: Arrow large_binary array, null where the row has none.
    midi: pa.Array
    #: Comma-separated style names, decoded: Arrow string array, or None if the source has none.
    genre: pa.Array | None = None
    #: NOMML levels per track: Arrow list<int> array, or None.
    nomml: pa.Array | None = None
    #: Further columns by name, Arrow arrays of any type with a value per row, which the corpus keeps. Every batch with
    #: rows has the same names and types. A source of files with many columns has an option that names those to keep.
    metadata: Mapping[str, pa.Array] = Factory(dict)
    #: Rows that the source dropped since the previous batch, by reason.
    dropped: Mapping[str, int] = Factory(dict)
    #: Number and name of a few of them, by reason, for reports.
    dropped_rows: Mapping[str, Sequence[tuple[int, str]]] = Factory(dict)
    #: Least and most bars of a piece, or None: others are dropped, as ``min_bars`` and ``max_bars``, after parsing.
    bars: tuple[int | None, int | None] = (None, None)


@runtime_checkable
class SourceShard(Protocol):
    """One file of a source: the unit of caching, of parallel work, and of what is lost if the machine crashes.

    It can be pickled, also after its fingerprint was asked for: an engine sends it to another machine, which sees the
    same files at the same paths.
    """

    @property
    def name(self) -> str:
        """The file, for messages."""

    def num_rows(self) -> int | None:
        """Number of rows, including rows that the metadata filter drops; None if it is known only after reading."""

    def fingerprint(self) -> str:
        """A string that changes when the shard's content does, e.g. a cryptographic hash of its bytes.

        Called before the rows are read and again afterwards: no corpus is stored for a shard that changed in
        between."""

    def batches(self) -> Iterator[RowBatch]:
        """The rows, once, in order. Memory is bounded by one batch. Raises :class:`midigpt_core.errors.DataError`
        that names the file, and the row group or column, if the shard cannot be read."""


@runtime_checkable
class FetchedShard(SourceShard, Protocol):
    """A shard whose bytes are not on this machine."""

    def prefetch(self) -> None:
        """Begin to fetch them, and return at once; a build calls it while it parses the shards before this one."""

    def forget(self) -> None:
        """Nothing will be read any more: the build ended, or was stopped. What was only fetched for it can go."""


@runtime_checkable
class Source(Protocol):
    """Where pieces come from. Iteration only: no random access, never sent to training workers."""

    def shards(self) -> Sequence[SourceShard]:
        """The shards in a stable order. Raises :class:`midigpt_core.errors.DataError` if a path matches no file."""


@runtime_checkable
class SourceWithOptions(Source, Protocol):
    """A source that says which of its options its rows depend on."""

    @property
    def row_options(self) -> Mapping[str, Any]:
        """Options that belong to the key of a corpus, as plain values; without it all options of the configuration do.

        Options at their defaults, and those that change no row, are best left out: the corpora then stay valid."""


# --- encoders ------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class PluginAttribute:
    """An attribute control of a plugin, as an encoder that takes such controls by name uses it."""

    #: ``plugin/name``, also the name of its token type.
    name: str
    #: Whether it describes a track or one bar of a track.
    level: Literal["track", "bar"]
    #: How many levels it has.
    levels: int
    #: The tracks that have it.
    track_type: Literal["melodic", "drum", "both"]
    #: What it measures, in one line.
    summary: str = ""
    #: The distribution that it comes from.
    distribution: str = ""
    #: The version of the distribution; empty: not known.
    version: str = ""
    #: The import string of its function, an :class:`AttributeFunction`; None: the plugin is not installed.
    target: str | None = None
    #: Folders that must be importable for it.
    import_paths: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"attribute control {self.name!r} of {self.distribution} {self.version}".rstrip()


@frozen(kw_only=True)
class EncoderContext:
    """What an encoder may get besides its options."""

    #: The attribute controls of plugins that the encoder's configuration names, in their order: a data worker gets
    #: those that its parent found. None: the encoder finds them among the plugins of this process.
    plugin_attributes: tuple[PluginAttribute, ...] | None = None


@runtime_checkable
class Grammar(Protocol):
    """Which tokens may come next, for N sequences at once.

    Each sequence follows a document of the encoder in which the bars to write are empty. The document's tokens are
    forced, and so is a token that is the only one allowed. Where there is a choice, :meth:`mask` gives the allowed
    tokens and :meth:`advance` takes the chosen one.
    """

    def start(self, batch: TokenBatch, request: GrammarRequest) -> None:
        """Begin with N documents. Raises :class:`midigpt_core.errors.EncodingError` if a document has no room for the
        requested bars, or is itself longer than allowed."""

    def take(self) -> tuple[Int32Array, Int32Array, Int64Array]:
        """The tokens that the model must read since the last call: the chosen ones and all forced ones after them.

        Tokens int32[total], their positions int32[total] within their documents (as :meth:`Encoder.positions` gives
        them), and offsets int64[N+1]. Tokens in masked spans are omitted, because nothing may attend to them, but
        positions count them.
        """

    def mask(self, out: BoolArray) -> None:
        """Set ``out`` bool[N, V] to whether each token may come next; no token may follow in a finished sequence."""

    def weights(self, out: Float64Array) -> None:
        """Set ``out`` float64[N, V] to the weight of each token within its type, 1 where the request has none. Called
        only if the request has ``bar_controls``."""

    def advance(self, tokens: Int32Array) -> None:
        """Append the next token of every sequence, int32[N]; the tokens of finished sequences are ignored. Raises
        ValueError for a token that may not come next."""

    def finished(self) -> BoolArray:
        """Whether all bars of a sequence are written: bool[N]."""

    def bars_written(self) -> Int32Array:
        """How many bars of each sequence are complete, in the order of the document: int32[N]."""

    def document(self, index: int) -> Int32Array:
        """The document so far. :meth:`Encoder.decode` takes it at any point."""


@frozen(kw_only=True)
class AttributeInfo:
    """An attribute control: a property of a track or bar, besides its notes, that can be requested."""

    #: Its name in the vocabulary and in requests, e.g. ``note_density``.
    name: str
    #: Whether it describes a track or one bar of a track.
    level: Literal["track", "bar"]
    #: Levels are 0 .. size-1; 0: the vocabulary has no token for it, so it cannot be asked for.
    size: int
    #: Whether it applies to tracks that are not drums.
    melodic: bool
    #: Whether it applies to drum tracks.
    drum: bool
    #: The distribution of its plugin, if that is not installed: then it cannot be computed or asked for, ``size`` is 0.
    missing: str = ""

    def applies_to(self, drum: bool) -> bool:
        """Whether it applies to drum tracks (``drum`` is True) or to other tracks."""
        return self.drum if drum else self.melodic


class Encoder(ABC):
    """Tokens from windows, scores from tokens. Must be cheap to pickle or to rebuild from :meth:`to_config`."""

    @property
    @abstractmethod
    def vocabulary(self) -> Vocabulary:
        """All token ids with their types and values."""

    @property
    def vocab_size(self) -> int:
        """Number of token ids; ids start at 0."""
        return self.vocabulary.size

    @property
    @abstractmethod
    def provides(self) -> frozenset[str]:
        """Capabilities of this encoder as configured: ``infill``, ``mask_bar``, ``genre``, ``use_velocity``, …

        ``placeholder_positions``: its component has an option ``infill_positions``, which decides
        :attr:`infill_positions` where the rest of the configuration does not.
        """

    @property
    def infill_positions(self) -> str:
        """How fill blocks are numbered, one of :data:`~midigpt_core.records.INFILL_POSITIONS`.

        An encoder with ``placeholder`` says so under this name in :meth:`to_config`: bundles are checked by it. Its
        documents have ``positions`` (:class:`~midigpt_core.records.TokenBatch`), the same as :meth:`positions` and the
        grammar give.
        """
        return SEQUENCE

    def positions(self, tokens: Int32Array) -> Int32Array | None:
        """The positions int32[L] of one document int32[L], whole or as far as it goes, each at most its place; None:
        its place. Raises :class:`midigpt_core.errors.EncodingError` for a foreign id."""
        return None

    @property
    def window_sizes(self) -> tuple[int, ...]:
        """Window sizes (bars) that the encoder can announce, ascending; empty: any."""
        return ()

    @property
    def attributes(self) -> tuple[AttributeInfo, ...]:
        """The attribute controls, in the order of the vocabulary's ``attributes`` (the K axis)."""
        return ()

    @property
    def plugin_attributes(self) -> tuple[PluginAttribute, ...]:
        """Those of :attr:`attributes` that plugins compute, for :attr:`EncoderContext.plugin_attributes`."""
        return ()

    @abstractmethod
    def to_config(self) -> dict[str, Any]:
        """Plain values from which the same encoder can be built; stored in every bundle.

        They are the component's options, or, for an options class with a field ``config``, the value of that field.
        """

    def accepts_signatures(self, numerators: Int32Array, denominators: Int32Array) -> BoolArray | None:
        """Which time signatures (pairwise) can be written: bool[n]; None: all."""
        return None

    @property
    def time_signatures(self) -> tuple[tuple[int, int], ...]:
        """The time signatures that can be written, as (numerator, denominator); empty: any."""
        return ()

    def genre_id(self, name: str) -> int:
        """The id of a style name, -1 if the encoder does not know it."""
        return -1

    @abstractmethod
    def encode_batch(self, corpus: Corpus, windows: WindowBatch, max_tokens: Int32Array) -> TokenBatch:
        """Encode N windows, each within ``max_tokens`` int32[N] tokens (0 or less: no limit).

        An AR window (no infill cell) that is too long is cut at a bar line and keeps its header; an infill window loses
        tracks, from the last one on, those without infill cells first. ``status`` says what happened; no window raises
        an exception.
        """

    @property
    def note_grid(self) -> NoteGrid | None:
        """The values of notes that ``bar_controls`` of a :class:`~midigpt_core.records.GrammarRequest` refers to; None:
        :meth:`grammar` ignores ``bar_controls``.

        An encoder with a grid provides those of ``pitch_mask``, ``rhythm_mask`` and ``remix`` that its grammar honours.
        """
        return None

    def bar_notes(self, corpus: Corpus, windows: WindowBatch) -> BarNotes:
        """The notes of windows as :meth:`encode_batch` writes them, for encoders that provide ``remix``. Raises
        :class:`midigpt_core.errors.EncodingError` for a window that cannot be encoded."""
        raise EncodingError("the encoder has no grid of notes, so no bar can be rewritten with it. Leave out remix.")

    def window_notes(self, corpus: Corpus, windows: WindowBatch) -> WindowNotes:
        """The notes of windows as :meth:`encode_batch` writes them, for the functions of :attr:`plugin_attributes`.

        Raises :class:`midigpt_core.errors.EncodingError` if the encoder takes no attribute controls of plugins.
        """
        raise EncodingError("the encoder takes no attribute controls of plugins. Choose the encoder midigpt.")

    def compute_attributes(self, corpus: Corpus, windows: WindowBatch) -> Int16Array | None:
        """The levels that :attr:`attributes` have in windows: int16[N, T, 1+B, K] as in ``attribute_values`` of a
        :class:`~midigpt_core.records.WindowBatch`, -1 where a control does not apply; None without attributes."""
        return None

    @abstractmethod
    def decode(self, tokens: Int32Array) -> Score:
        """The score that a token sequence encodes. Raises :class:`midigpt_core.errors.EncodingError` for an unknown
        id."""

    def grammar(self) -> Grammar | None:
        """A new grammar; None if the encoder does not support generation."""
        return None


# --- attribute controls --------------------------------------------------------------------------------------------


class AttributeFunction(Protocol):
    """Computes the levels of an attribute control. The ``target`` of an attribute's record is such a function."""

    def __call__(self, notes: WindowNotes) -> NDArray[np.integer[Any]]:
        """The levels in N windows: integers [N, T] of a track attribute, [N, T, B] of a bar attribute, from 0 to one
        less than the record's ``levels``; -1 where there is nothing to measure.

        The levels of a window depend on its own notes alone, never on the other windows of the batch or on chance.
        Levels of tracks and bars that are not there, or to which the control does not apply, are ignored.
        """


# --- masks ---------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class MaskContext:
    """The facts about a run that a mask strategy gets."""

    #: The encoder's window sizes in bars.
    window_sizes: tuple[int, ...] = ()


@runtime_checkable
class MaskStrategy(Protocol):
    """Which bars are masked. The core decides whether a window is masked at all (``mask_apply_probability``)."""

    def mask(self, valid: BoolArray, infill: BoolArray, keys: UInt64Array) -> BoolArray:
        """``masked`` bool[N, T, B] from ``valid`` and ``infill`` bool[N, T, B] and one key per window uint64[N].

        ``masked & ~valid`` and ``masked & infill`` are always empty. Equal keys give equal results whatever else is in
        the batch: draw from :mod:`midigpt_core.keys` with the window's key, never from a global generator.
        """


# --- architectures -------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class ArchitectureContext:
    """The sizes that the data sets."""

    #: Token ids run from 0 to ``vocab_size - 1``.
    vocab_size: int
    #: Longest sequence in tokens (``n_positions``).
    max_seq_len: int


@runtime_checkable
class Architecture(Protocol):
    """A ``torch.nn.Module`` that can also describe how to build it again.

    It may have a method ``reader(precision)`` that returns a :class:`SequenceReader`, which generation then uses in
    place of :meth:`forward`.

    A method ``weight_matrices()`` names the weight matrices of its transformer blocks, each a :class:`WeightMatrix`. It
    is needed where a parameter contains several matrices or is stored as [in, out]. Without it these are the parameters
    of two dimensions in any ``nn.ModuleList``, or, in a model without one, the weights of its linear layers. Embeddings
    and the head never are.
    """

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        cache: Any = None,
    ) -> Tensor:
        """Logits [B, L, V] for ``input_ids`` int64[B, L].

        ``position_ids`` int64[B, L] are the tokens' positions; None: their places in their documents. An architecture
        that provides ``placeholder_positions`` uses them unchanged, even if they do not ascend or occur twice. Which
        tokens a token sees depends only on places. The same holds for its reader. ``document_ids`` int32[B, L] counts
        documents from 0 within a packed row (-1: padding): a token sees only earlier tokens of its own document, bit
        for bit as if the document were alone. None: one document per row. An architecture that provides ``kv_cache``
        has a method ``make_cache()``; ``cache`` is what it returned, and ``input_ids`` then contains only the tokens
        after those already read with this cache. An architecture that provides ``gradient_checkpointing`` has a method
        ``enable_gradient_checkpointing()``, after which training keeps fewer activations and recomputes them, with
        equal results.
        """

    def architecture_config(self) -> dict[str, Any]:
        """Plain values that, with the name, build the same module; stored in every bundle.

        ``vocab_size``, ``n_positions`` (the context's ``max_seq_len``) and the component's options.
        """


@runtime_checkable
class Sequences(Protocol):
    """N token sequences that a model reads piece by piece."""

    def step(self, tokens: Int32Array, positions: Int32Array, offsets: Int64Array, logits: Float32Array) -> None:
        """Read the next tokens of every sequence, as :meth:`Grammar.take` gives them; the first step is the prefill.

        ``logits`` float32[N, V] receives, for each sequence that read something, the logits of its next token.
        """

    def fork(self, sources: Int64Array) -> Sequences:
        """M new sequences: the i-th continues from the present state of sequence ``sources[i]``, int64[M]."""


@runtime_checkable
class SequenceBatch(Protocol):
    """Reads steps of several :class:`Sequences` of one reader at once."""

    def open(self, count: int, capacity: int) -> Sequences:
        """As :meth:`SequenceReader.open`, for sequences that this batch will read."""

    def step(self, steps: Sequence[tuple[Any, Int32Array, Int32Array, Int64Array, Float32Array]]) -> None:
        """Carry out :meth:`Sequences.step` for each item: its sequences, then the arguments. The logits are those of
        the single steps, to the bit. Raises ValueError, before anything is read, if one of the steps cannot be carried
        out."""


@runtime_checkable
class SequenceReader(Protocol):
    """What an architecture's ``reader(precision)`` returns: a reader that uses the weights as they are now.

    Without such a method, or if it returns None, sequences are read through :meth:`Architecture.forward`. A reader may
    have a method ``batch()`` that returns a :class:`SequenceBatch`: requests that run in several threads are then read
    in one batch (:mod:`midigpt_core.inference.batching`).
    """

    def open(self, count: int, capacity: int) -> Sequences:
        """``count`` empty sequences of at most ``capacity`` tokens each."""


# --- optimisers ----------------------------------------------------------------------------------------------------


@frozen(eq=False, kw_only=True)
class WeightMatrix:
    """A parameter of two dimensions that activations are multiplied by: one matrix, or several in one tensor."""

    #: The parameter itself, as the model holds it.
    parameter: Parameter
    #: The dimension of the outputs: 0 in ``nn.Linear`` [out, in], 1 in GPT-2's ``Conv1D`` [in, out].
    output_dim: int = 0
    #: How many outputs each matrix has, if there are several (queries, keys and values); empty: it is one.
    parts: tuple[int, ...] = ()


@frozen(eq=False, kw_only=True)
class OptimizerContext:
    """What an optimiser steps, and the settings that are the same for every optimiser."""

    #: The model, on the device where it is trained. Frozen weights need no gradient.
    model: nn.Module
    #: The setting ``learning_rate``: the peak rate, as AdamW takes it.
    learning_rate: float
    #: The setting ``weight_decay``, for :attr:`decayed` alone.
    weight_decay: float
    #: The settings ``adam_beta1`` and ``adam_beta2``.
    betas: tuple[float, float]
    #: The trained parameters that weight decay pulls to zero: those of two dimensions or more, without embeddings.
    decayed: Sequence[Parameter]
    #: The other trained parameters.
    undecayed: Sequence[Parameter]
    #: The trained weight matrices of the transformer blocks. They are among :attr:`decayed`.
    matrices: Sequence[WeightMatrix]
    #: Whether torch's fused kernels may be used: they need a CPU or a CUDA device, and do not go with fp16.
    fused: bool


# --- adapters ------------------------------------------------------------------------------------------------------


@frozen(eq=False, kw_only=True)
class AdapterContext:
    """The model that an adapter changes."""

    #: The base, with all of its weights frozen.
    model: nn.Module
    #: The linear layers that may be adapted, in the model's order: names of modules that are ``nn.Linear``, with a
    #: ``weight`` [out, in], or transformers' ``Conv1D``, [in, out]. The head is not among them.
    layers: Sequence[str]

    def matching(self, patterns: Sequence[str]) -> list[str]:
        """The layers that match one of ``patterns``; all without patterns.

        A pattern is a name, or the end of one after a dot: ``c_attn``, ``attn.*``, ``transformer.h.[3-5].*``. Raises
        :class:`midigpt_core.errors.ConfigError` for a pattern that matches none, and for a model without layers.
        """
        if not self.layers:
            raise ConfigError("adapter: the model has no linear layer that could be adapted. Set adapter to none.")
        matches = {
            pattern: [name for name in self.layers if fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")]
            for pattern in patterns
        }
        for pattern, found in matches.items():
            if not found:
                ends = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in self.layers))
                raise ConfigError(
                    f"adapter.targets: {pattern!r} matches no linear layer of the model. Choose among {ends}; a whole "
                    f"name is {self.layers[0]}."
                )
        chosen = {name for found in matches.values() for name in found}
        return [name for name in self.layers if name in chosen or not patterns]


@runtime_checkable
class Adapter(Protocol):
    """What has been added to a model. The model computes with it from now on."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """The adapter's own weights by name: all that is stored of it, and what :class:`AdapterMerge` takes. The
        tensors may be those that are being trained."""


@runtime_checkable
class AdapterMerge(Protocol):
    """A function that puts an adapter into the weights of its base."""

    def __call__(self, options: Any, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """New values of those weights of ``base`` that the adapter changes, by their names, as new tensors.

        ``adapter`` is what :meth:`Adapter.state_dict` returned, ``base`` the weights of the model without it, by the
        architecture's names; both are on one device, of type float32. Raises
        :class:`midigpt_core.errors.CheckpointError` for tensors that do not fit.
        """


# --- metrics -------------------------------------------------------------------------------------------------------


@runtime_checkable
class KnownBars(Protocol):
    """The bars of a training corpus, as a set of their fingerprints
    (:func:`midigpt_core.score.bar_fingerprints.bar_fingerprints`)."""

    def looked_up(self, fingerprints: UInt64Array) -> BoolArray:
        """Which fingerprints uint64[n] can be looked up: all, or in an index of a sample those of the sample."""

    def contains(self, fingerprints: UInt64Array) -> BoolArray:
        """Which fingerprints uint64[n] are those of bars in the corpus, exactly or transposed: bool[n]."""


@frozen(eq=False, kw_only=True)
class MetricContext:
    """What a metric may need to know besides the music."""

    #: The model's encoder.
    encoder: Encoder
    #: The seed of a metric's random numbers: draw from :mod:`midigpt_core.keys`, never from a global generator.
    seed: int
    #: The bars of the corpus that the model was trained on; None: not known.
    training_bars: KnownBars | None = None


@runtime_checkable
class Metric(Protocol):
    """Measures generated music. Equal music gives equal figures."""

    def measure(self, music: GeneratedMusic) -> Mapping[str, Figure]:
        """Figures by name, made of lower-case letters, digits, ``-``, ``_`` and ``/``; the empty name is the metric's
        main figure. Empty: it cannot be measured here, for example without the training corpus."""


# --- loggers and callbacks -----------------------------------------------------------------------------------------


@frozen(kw_only=True)
class LoggerContext:
    """The run to log."""

    #: The run's folder: where a logger writes its files.
    run_dir: Path
    #: What to call the run: the setting ``run_name``, or the folder's name.
    run_name: str
    #: Whether the run continues from a checkpoint; its earlier part is in ``run_dir``.
    continues: bool = False


@runtime_checkable
class SampleLogger(Protocol):
    """An optional extension of a Lightning logger: a method that receives the music of ``sample_steps``."""

    def log_sample(self, name: str, midi: Path, piano_roll: Path, step: int) -> None:
        """Log the sample ``name`` (``"prompt1"``, the same prompt at every step): a MIDI file and a PNG, which stay in
        the run's folder. Called on the first rank; an exception that it raises becomes a warning."""


@runtime_checkable
class SampleAudioLogger(Protocol):
    """An optional extension of a Lightning logger: a method that receives the sound of samples (``sample_audio``)."""

    def log_sample_audio(self, name: str, audio: Path, step: int) -> None:
        """Log the sound of the sample ``name``: an OGG or WAV file, which stays in the run's folder. Called on the
        first rank, after :meth:`SampleLogger.log_sample`; an exception that it raises becomes a warning."""


@frozen(eq=False, kw_only=True)
class RunContext:
    """The facts about a run that ``midigpt_callbacks`` gets."""

    #: The run's folder: where a callback writes its files.
    run_dir: Path
    #: What to call the run: the setting ``run_name``, or the folder's name.
    run_name: str
    #: All settings; the run no longer reads most of them, so treat them as read-only.
    config: TrainConfig
    #: The run's encoder.
    encoder: Encoder


# --- checkpoint formats --------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class FormatContext:
    """What a checkpoint format may do when it reads."""

    #: Whether the user explicitly allowed the file to run code. Only formats that are marked ``unsafe``, or that
    #: document it, may use this.
    allow_unsafe: bool = False


@frozen(eq=False, kw_only=True)
class BundleHeader:
    """The description of a bundle, without its tensors."""

    #: Component name of the architecture, e.g. ``"gpt2"``.
    architecture: str
    #: ``vocab_size``, ``n_positions``, ``n_embd``, ``n_layer``, ``n_head`` for gpt2; for llama also ``n_kv_head``,
    #: ``n_inner`` and ``rope_theta``.
    architecture_config: Mapping[str, Any]
    #: Component name of the encoder, e.g. ``"midigpt"``.
    encoder: str
    #: What :meth:`Encoder.to_config` returned.
    encoder_config: Mapping[str, Any]
    #: Who made it: core, plugins, versions, option hashes, corpus fingerprint, steps, metrics.
    provenance: Mapping[str, Any] = field(factory=dict)
    #: Numbers in all tensors of the file, for ``midigpt inspect``; None if the header does not tell.
    stored_numbers: int | None = None


@frozen(eq=False, kw_only=True)
class Bundle(BundleHeader):
    """Weights and encoder: what inference and fine-tuning need, and no training state."""

    #: The weights by name.
    state_dict: Mapping[str, Tensor]


@runtime_checkable
class HeaderReader(Protocol):
    """Recognises a format and reads its headers. Treats every file as hostile."""

    def matches(self, path: Path) -> bool:
        """Whether ``path`` looks like this format (name and magic bytes only)."""

    def read_header(self, path: Path) -> BundleHeader:
        """The header, no tensor loaded. Raises :class:`midigpt_core.errors.CheckpointError`."""


@runtime_checkable
class CheckpointFormat(HeaderReader, Protocol):
    """Reads and writes bundles. Treats every file as hostile: limits first, typed errors, nothing executed."""

    def save(self, bundle: Bundle, path: Path) -> None:
        """Write atomically (:mod:`midigpt_core.files`)."""

    def load(self, path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Bundle:
        """The whole bundle. Raises :class:`midigpt_core.errors.CheckpointError` naming the file and what is wrong."""


def status_name(status: int) -> str:
    """``"tracks_dropped"`` for a :class:`TokenStatus` value, for tables of counts."""
    return TokenStatus(status).name.lower()
