"""The inference engine: a trained model with its encoder."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self, cast

import attrs
import numpy as np
import torch
from torch import nn

from midigpt_core.checkpoint import (
    build_encoder,
    build_model,
    from_pretrained,
    load_checkpoint,
    push_to_hub,
    save_pretrained,
)
from midigpt_core.checkpoint.adapter_files import adapter_path
from midigpt_core.checkpoint.adapters import (
    StoredAdapter,
    base_record,
    bundle_name,
    load_adapter,
    merged_weights,
    require_base,
    weights_hash,
)
from midigpt_core.checkpoint.assemble import (
    architecture_ref,
    check_positions,
    encoder_ref,
    header_alone,
    with_weights,
)
from midigpt_core.checkpoint.hub import DEFAULT_REPO
from midigpt_core.errors import CheckpointError, ConfigError, EncodingError
from midigpt_core.inference.batching import SharedReader
from midigpt_core.inference.devices import device_named
from midigpt_core.inference.forward_reader import ForwardReader
from midigpt_core.inference.session import SamplingSession
from midigpt_core.inference.trained import trained_windows
from midigpt_core.plugins.faults import faults_named

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path
    from threading import Event

    from torch import Tensor

    from midigpt_core.components import ComponentRef
    from midigpt_core.contracts import Bundle, BundleHeader, Encoder, KnownBars, SequenceReader
    from midigpt_core.inference.request import GenerationRequest
    from midigpt_core.records import Float64Array, Int32Array
    from midigpt_core.score import Score


_AS_TRAINING_SPELLS = {"fp32": "float32", "bf16": "bfloat16"}


class InferenceEngine:
    """A model in evaluation mode and the encoder of its tokens.

    ``precision`` is the type of the weights during generation, if the architecture supports several: ``float32``, or
    ``bfloat16`` and ``int8``, which are faster and change likelihoods slightly (docs/generation.md). ``fp32`` and
    ``bf16``, the names that training uses, are accepted too. Arithmetic is at least float32, whatever type a bundle's
    weights have.
    """

    def __init__(
        self,
        model: nn.Module,
        encoder: Encoder,
        *,
        precision: str = "float32",
        header: BundleHeader | None = None,
        name: str = "this engine's bundle",
    ) -> None:
        """``header`` is the header of the model's bundle; without it the engine cannot be saved. ``name`` is what
        messages call the bundle."""
        self.model = model.eval()
        self.encoder = encoder
        self.precision = _AS_TRAINING_SPELLS.get(precision, precision)
        self._header = header
        #: Types of the bundle's tensors that are wider here, by their names.
        self._stored_types: dict[str, torch.dtype] = {}
        #: The windows that the model was trained on: requests are planned in such windows and checked against them.
        self.trained = trained_windows(encoder, header.provenance if header is not None else {})
        #: Architecture and encoder, whose plugins are named if their code fails; empty without a header.
        self.parts: tuple[ComponentRef, ...] = () if header is None else (architecture_ref(header), encoder_ref(header))
        #: The encoder's component, for messages.
        self.component = f"encoder {type(encoder).__name__}" if header is None else str(encoder_ref(header))
        #: The bars of the music that the model was trained on, for requests of novel music; None: not known.
        #: :func:`midigpt_core.corpus.copy_index.read_copy_index` reads those that a run keeps in its folder.
        self.known_bars: KnownBars | None = None
        self._reader: SequenceReader | None = None
        self._name = name
        #: What adapters are compared with, once one is used.
        self._base: dict[str, Any] | None = None
        #: Engines with an adapter, by the adapter's content.
        self._adapted: dict[str, Self] = {}

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike[str],
        device: torch.device | str | None = None,
        *,
        precision: str = "float32",
    ) -> Self:
        """The engine of a bundle, on ``device`` (None: the GPU if there is one, else the CPU; ``"auto"``: cuda, else
        mps, else cpu).

        Raises :class:`midigpt_core.errors.CheckpointError` for a bundle that cannot be used.
        """
        chosen = device_named(device)
        return cls._of(load_checkpoint(path), chosen, precision=precision, path=path)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        hf_repo: str = DEFAULT_REPO,
        device: torch.device | str | None = None,
        token: str | bool | None = None,
        *,
        precision: str = "float32",
        **options: Any,
    ) -> Self:
        """The engine of a bundle on the Hugging Face Hub; names, cache and ``options`` are those of
        :func:`midigpt_core.checkpoint.hub.from_pretrained`."""
        chosen = device_named(device)
        bundle = from_pretrained(name, hf_repo=hf_repo, token=token, device=chosen, **options)
        return cls._of(bundle, chosen, precision=precision, path=name)

    @classmethod
    def from_bundle(cls, bundle: Bundle, device: torch.device | str = "cpu", *, precision: str = "float32") -> Self:
        """The engine of a loaded bundle; ``device`` as for :meth:`from_checkpoint`."""
        return cls._of(bundle, device_named(device), precision=precision)

    @classmethod
    def _of(
        cls,
        bundle: Bundle,
        device: torch.device | str,
        *,
        precision: str,
        path: str | os.PathLike[str] | None = None,
    ) -> Self:
        # Only the header: the bundle's tensors would stay in memory in addition to the model's.
        header = header_alone(bundle)
        model = build_model(bundle, device=device, path=path)
        stored = {name: tensor.dtype for name, tensor in model.state_dict().items()}
        # 16-bit weights save space in a file; 16-bit arithmetic would only lose precision.
        if any(weight.element_size() < torch.float32.itemsize for weight in model.parameters()):
            model = model.float()
        encoder = build_encoder(bundle)
        check_positions(header, encoder)
        named = {} if path is None else {"name": bundle_name(path)}
        engine = cls(model, encoder, precision=precision, header=header, **named)
        engine._stored_types = {
            name: stored[name] for name, tensor in model.state_dict().items() if tensor.dtype != stored[name]
        }
        return engine

    def __getstate__(self) -> dict[str, Any]:
        # The reader is rebuilt from the model's weights when it is needed again.
        return {**self.__dict__, "_reader": None, "_adapted": {}}

    def adapted(self, adapter: str | os.PathLike[str] | StoredAdapter) -> Self:
        """The engine with ``adapter`` (a file, a run's folder, or what
        :func:`midigpt_core.checkpoint.adapters.load_adapter` returned) in its weights.

        It gives exactly what the engine of the merged bundle gives, and shares with this engine all weights that the
        adapter does not change. Asking again for the same adapter returns the same engine, so that switching between
        adapters takes the time to read their files. Both engines can be used at the same time, in several threads.
        Raises :class:`midigpt_core.errors.CheckpointError`, naming the first field that differs, for an adapter that
        was trained on another model.
        """
        if self._header is None:
            raise CheckpointError(
                "this engine has no bundle that an adapter could be compared with. Make it with from_checkpoint, "
                "from_pretrained or from_bundle."
            )
        stored = adapter if isinstance(adapter, StoredAdapter) else load_adapter(adapter)
        content = f"{stored.metadata()} {weights_hash(stored.tensors)}"
        found = self._adapted.get(content)
        if found is None:
            try:
                found = self._adapted[content] = self._with_adapter(stored, self._header)
            except CheckpointError as error:
                if adapter is stored:
                    raise
                raise CheckpointError(f"{adapter_path(cast('Any', adapter))}: {error}") from error
        return found

    def _with_adapter(self, adapter: StoredAdapter, header: BundleHeader) -> Self:
        base = {name: tensor.detach().to("cpu", torch.float32) for name, tensor in self.model.state_dict().items()}
        if self._base is None:
            self._base = base_record(header, weights_hash(base), self._name)
        require_base(adapter, self._base)
        changed = merged_weights(adapter.adapter, adapter.options, adapter.tensors, base)
        # A copy of the modules around the same tensors.
        same = {id(tensor): tensor for tensor in (*self.model.parameters(), *self.model.buffers())}
        model = copy.deepcopy(self.model, cast("Any", same))
        for name, tensor in changed.items():
            place, _, last = name.rpartition(".")
            setattr(model.get_submodule(place), last, nn.Parameter(tensor.to(self.device), requires_grad=False))
        header = attrs.evolve(header, provenance=dict(adapter.provenance))
        return type(self)(model, self.encoder, precision=self.precision, header=header, name=self._name)

    def to_bundle(self) -> Bundle:
        """The bundle that this engine was made from, with the model's current weights, on the CPU and in the bundle's
        types.

        Raises :class:`midigpt_core.errors.CheckpointError` for an engine that was not made from a bundle.
        """
        if self._header is None:
            raise CheckpointError(
                "this engine has no bundle to save. Make it with from_checkpoint, from_pretrained or from_bundle."
            )
        weights = {
            name: tensor.detach().to("cpu", self._stored_types.get(name, tensor.dtype))
            for name, tensor in self.model.state_dict().items()
        }
        return with_weights(self._header, weights)

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *, push_to_hub: bool = False, repo_id: str | None = None
    ) -> Path:
        """Write a folder for transformers: :func:`midigpt_core.checkpoint.hub.save_pretrained`."""
        return save_pretrained(self.to_bundle(), save_directory, push_to_hub=push_to_hub, repo_id=repo_id)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Push to the Hugging Face Hub; ``options`` and result of :func:`midigpt_core.checkpoint.hub.push_to_hub`."""
        return push_to_hub(self.to_bundle(), repo_id, **options)

    def session(
        self, score: Score, request: GenerationRequest, *, cancel_event: Event | None = None
    ) -> SamplingSession:
        """A session for ``request`` on ``score``: checked and planned now, generated by its ``run()``.

        Planning thousands of bars takes seconds. ``cancel_event``, set by another thread, ends it: ``run()`` of the
        session then returns the score unchanged. Raises :class:`midigpt_core.inference.RequestValidationError` with
        every problem of the request.
        """
        with faults_named(self.parts, lambda: "planning a generation"):
            return SamplingSession(self, score, request, cancel_event)

    @property
    def training_corpus(self) -> str:
        """The fingerprint of the corpus that the model was trained on; empty if its bundle does not say."""
        return "" if self._header is None else str(self._header.provenance.get("corpus") or "")

    @property
    def max_tokens(self) -> int:
        """The longest sequence that the model reads."""
        return int(cast("Any", self.model).architecture_config()["n_positions"])

    def reader(self) -> SequenceReader:
        """The model's reader of sequences, built once from the weights at that time.

        Raises :class:`midigpt_core.errors.ConfigError` for a precision that the architecture does not have.
        """
        if self._reader is None:
            make = getattr(self.model, "reader", None)
            try:
                own = None if make is None else make(self.precision)
            except ValueError as error:
                raise ConfigError(f"precision: {error}. Choose one of these.") from error
            if own is None and self.precision != "float32":
                raise ConfigError(
                    f"precision {self.precision!r}: this architecture has float32 only on {self.device}. Leave it out."
                )
            self._reader = own or ForwardReader(self.model)
        return self._reader

    def share_reader(self) -> SharedReader:
        """Let sessions of this engine that run in several threads read in one batch from now on; returns the reader.

        Each session gives the same music as alone. Raises what :meth:`reader` raises.
        """
        reader = self.reader()
        if not isinstance(reader, SharedReader):
            reader = self._reader = SharedReader(reader)
        return reader

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.inference_mode()
    def logits(self, tokens: Sequence[int] | Int32Array | Tensor) -> Tensor:
        """Logits [L, V] for one document of L token ids: row ``t`` scores the token after ``tokens[t]``.

        Raises :class:`midigpt_core.errors.EncodingError` for an id outside the vocabulary.
        """
        ids = torch.as_tensor(tokens, dtype=torch.int64, device=self.device)
        size = self.encoder.vocab_size
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < size:
            raise EncodingError(f"token ids must lie in 0..{size - 1}. Encode with the bundle's own encoder.")
        positions = self._positions(ids)
        with faults_named(self.parts, lambda: f"{len(ids)} tokens"):
            out = self.model(ids[None], **({} if positions is None else {"position_ids": positions[None]}))
        logits: Tensor = out[0]
        return logits

    def _positions(self, ids: Tensor) -> Tensor | None:
        """The positions of a document's tokens, int64[L]; None if they are the tokens' places."""
        positions = self.encoder.positions(ids.cpu().numpy().astype(np.int32))
        return None if positions is None else torch.from_numpy(positions).to(self.device, torch.int64)

    def score_tokens(self, tokens: Sequence[int] | Int32Array | Tensor) -> Float64Array:
        """Teacher-forced log-probabilities float64[L - 1] of a document of L tokens: entry ``i`` is that of token
        ``i + 1`` after the tokens before it, among the whole vocabulary.

        Raises :class:`midigpt_core.errors.EncodingError` for an id outside the vocabulary, and for more tokens than
        the model reads.
        """
        ids = torch.as_tensor(tokens, dtype=torch.int64).cpu()
        if len(ids) > self.max_tokens:
            raise EncodingError(f"{len(ids)} tokens are more than the model's {self.max_tokens}. Score a part of them.")
        if len(ids) < 2:
            return np.zeros(0)
        logits = (self.logits(ids) if self.precision == "float32" else self._read_logits(ids))[:-1].double().cpu()
        scores: Float64Array = logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0].numpy()
        return scores

    def _read_logits(self, ids: Tensor) -> Tensor:
        """Logits [L, V] of :meth:`reader`, read one token at a time in the precision of this engine."""
        tokens = ids.numpy().astype(np.int32)
        if not 0 <= tokens.min() <= tokens.max() < self.encoder.vocab_size:
            raise EncodingError(f"token ids must lie in 0..{self.encoder.vocab_size - 1}.")
        given = self.encoder.positions(tokens)
        positions = np.arange(len(tokens), dtype=np.int32) if given is None else given
        sequences = self.reader().open(1, len(tokens))
        row = np.zeros((1, self.encoder.vocab_size), np.float32)
        rows = []
        for place in range(len(tokens)):
            one = slice(place, place + 1)
            sequences.step(tokens[one], positions[one], np.array([0, 1]), row)
            rows.append(torch.from_numpy(row[0].copy()))
        return torch.stack(rows)
