"""Reading and writing bundles, whatever their format.

A format is chosen by the path: its suffix or, for a folder or an unusual name, by what the format itself recognises.
Formats are components; this module knows none of them.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from midigpt_core.checkpoint.assemble import check_encoder
from midigpt_core.contracts import Bundle, BundleHeader, CheckpointFormat, FormatContext
from midigpt_core.errors import CheckpointError
from midigpt_core.plugins import Provided, build, current_registry

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import torch

    from midigpt_core.components import CheckpointFormatSpec

KIND = "checkpoint format"


def load_checkpoint(
    path: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    allow_unsafe: bool = False,
) -> Bundle:
    """The bundle at ``path``: a ``.pt`` or ``.safetensors`` file, or a folder.

    Tensors arrive on ``device``, converted to ``dtype`` if given. The file is treated as hostile: nothing in it is run,
    unless its format says that it cannot be read otherwise and ``allow_unsafe`` permits that. Raises
    :class:`midigpt_core.errors.CheckpointError` naming the file and what is wrong, also where the encoder's vocabulary
    and the model's differ, and :class:`midigpt_core.errors.PluginError` for a component that is not installed.
    """
    source = Path(path)
    with _os_errors_explained(source):
        bundle = _format_of(source, allow_unsafe=allow_unsafe)[1].load(source, device, dtype)
    check_encoder(bundle, source)
    return bundle


def read_header(path: str | os.PathLike[str]) -> BundleHeader:
    """What the bundle at ``path`` is, without loading a tensor or building a component."""
    source = Path(path)
    with _os_errors_explained(source):
        return _format_of(source)[1].read_header(source)


def save_bundle(bundle: Bundle, path: str | os.PathLike[str], format_name: str | None = None) -> Path:
    """Write ``bundle`` to ``path``, atomically, in the format that is named or that the suffix means; returns the path.

    Raises :class:`midigpt_core.errors.CheckpointError` if no format that can write fits.
    """
    target = Path(path)
    provided = _writer(target) if format_name is None else current_registry().find(KIND, format_name)
    if not _spec(provided).can_save:
        raise CheckpointError(
            f"{target}: the format {provided.spec.name!r} can only be read. Use one of: {', '.join(_writable())}."
        )
    _built(provided).save(bundle, target)
    return target


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    format_name: str | None = None,
    dtype: torch.dtype | None = None,
    allow_unsafe: bool = False,
) -> Path:
    """Read the bundle at ``source`` and write it to ``target`` in the format that name means; returns ``target``.

    Weights, encoder and provenance stay as they are, bit for bit unless ``dtype`` asks for another precision.
    """
    return save_bundle(load_checkpoint(source, dtype=dtype, allow_unsafe=allow_unsafe), target, format_name)


def format_name_of(path: str | os.PathLike[str]) -> str:
    """The name of the format of an existing bundle."""
    source = Path(path)
    with _os_errors_explained(source):
        return _format_of(source)[0].spec.name


@contextmanager
def _os_errors_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}). Check the path.") from error


def _writer(path: Path) -> Provided:
    """The format for a new bundle: that of the suffix; a name without one is a folder."""
    for provided in _formats():
        spec = _spec(provided)
        if path.suffix in spec.suffixes or (not path.suffix and spec.is_dir and spec.can_save):
            return provided
    suffixes = [suffix for provided in _formats() for suffix in _spec(provided).suffixes]
    raise CheckpointError(
        f"{path}: no format is known for the suffix {path.suffix!r}. Use a name that ends in one of: "
        f"{', '.join(suffixes)}."
    )


def _writable() -> list[str]:
    return [provided.spec.name for provided in _formats() if _spec(provided).can_save]


def _format_of(path: Path, *, allow_unsafe: bool = False) -> tuple[Provided, CheckpointFormat]:
    """The format of an existing bundle: of those that recognise the path, one that owns the suffix comes first."""
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file or folder. Check the path.")
    candidates = [
        provided
        for provided in _formats()
        if _spec(provided).is_dir == path.is_dir() and (allow_unsafe or not _spec(provided).unsafe)
    ]
    candidates.sort(key=lambda provided: path.suffix not in _spec(provided).suffixes)
    for provided in candidates:
        built = _built(provided, allow_unsafe=allow_unsafe)
        if built.matches(path):
            return provided, built
    names = ", ".join(provided.spec.name for provided in candidates) or "none"
    what = "folder" if path.is_dir() else "file"
    raise CheckpointError(f"{path}: not a bundle of any format for a {what} (tried: {names}). Check the path.")


def _formats() -> tuple[Provided, ...]:
    return current_registry().provided(KIND)


def _spec(provided: Provided) -> CheckpointFormatSpec:
    return cast("CheckpointFormatSpec", provided.spec)


def _built(provided: Provided, *, allow_unsafe: bool = False) -> CheckpointFormat:
    return cast("CheckpointFormat", build(provided.ref(), FormatContext(allow_unsafe=allow_unsafe)))
