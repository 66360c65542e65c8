"""The architectures whose tensors the formats know: their sizes, names and shapes are checked when a header is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from midigpt_core.checkpoint import gpt2_layout, llama_layout
from midigpt_core.checkpoint.gpt2_layout import Gpt2Size
from midigpt_core.checkpoint.llama_layout import LlamaSize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@frozen
class Layout:
    """The layout of an architecture's tensors."""

    #: What people call the architecture.
    title: str
    _size: Any
    _parameter_count: Callable[[Any], int]
    _check_tensors: Callable[[Mapping[str, tuple[int, ...]], Any, Path], None]

    def whole_config(self, config: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """``config``, checked, with the defaults of fields that it lacks. Raises
        :class:`midigpt_core.errors.CheckpointError`, as :meth:`check_tensors` does."""
        return asdict(self._size.from_config(config, path))

    def parameter_count(self, config: Mapping[str, Any], path: Path) -> int:
        """Number of trainable parameters."""
        return self._parameter_count(self._size.from_config(config, path))

    def check_tensors(self, found: Mapping[str, tuple[int, ...]], config: Mapping[str, Any], path: Path) -> None:
        """Compare names and shapes in a file with those of the model."""
        self._check_tensors(found, self._size.from_config(config, path), path)


#: By the component name of the architecture.
LAYOUTS: Mapping[str, Layout] = {
    "gpt2": Layout("GPT-2", Gpt2Size, gpt2_layout.parameter_count, gpt2_layout.check_tensors),
    "llama": Layout("Llama", LlamaSize, llama_layout.parameter_count, llama_layout.check_tensors),
}
