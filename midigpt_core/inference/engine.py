"""A trained model with its encoder, ready to be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch

from midigpt_core.checkpoint import build_encoder, build_model, from_pretrained, load_checkpoint
from midigpt_core.checkpoint.hub import DEFAULT_REPO
from midigpt_core.errors import EncodingError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from torch import Tensor, nn

    from midigpt_core.contracts import Bundle, Encoder
    from midigpt_core.records import Int32Array


class InferenceEngine:
    """A model in evaluation mode and the encoder that speaks its tokens."""

    def __init__(self, model: nn.Module, encoder: Encoder) -> None:
        self.model = model.eval()
        self.encoder = encoder

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str], device: torch.device | str | None = None) -> Self:
        """The engine of a bundle, on ``device`` (None: the GPU if there is one, else the CPU).

        Raises :class:`midigpt_core.errors.CheckpointError` for a bundle that cannot be used.
        """
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls.from_bundle(load_checkpoint(path), device)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        hf_repo: str = DEFAULT_REPO,
        device: torch.device | str | None = None,
        token: str | bool | None = None,
        **options: Any,
    ) -> Self:
        """The engine of a bundle on the Hugging Face Hub; names, cache and ``options`` are those of
        :func:`midigpt_core.checkpoint.hub.from_pretrained`."""
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        bundle = from_pretrained(name, hf_repo=hf_repo, token=token, device=device, **options)
        return cls.from_bundle(bundle, device)

    @classmethod
    def from_bundle(cls, bundle: Bundle, device: torch.device | str = "cpu") -> Self:
        return cls(build_model(bundle, device=device), build_encoder(bundle))

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
        logits: Tensor = self.model(ids[None])[0]
        return logits
