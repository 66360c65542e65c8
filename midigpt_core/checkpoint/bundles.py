"""Reading and writing bundles, whatever their format."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs

from midigpt_core import terminal
from midigpt_core.checkpoint.assemble import architecture_ref, check_encoder, encoder_ref, infill_positions
from midigpt_core.checkpoint.headers import find_format, formats, os_errors_explained, spec_of
from midigpt_core.checkpoint.provenance import imported_provenance
from midigpt_core.contracts import Bundle, CheckpointFormat, FormatContext
from midigpt_core.errors import CheckpointError, ComponentError
from midigpt_core.kinds import Kind
from midigpt_core.paths import usable_path
from midigpt_core.plugins import Provided, build, current_registry
from midigpt_core.plugins.faults import faults_named
from midigpt_core.records import PLACEHOLDER

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import torch

_log = terminal.logger(__name__)
#: The architecture that the public package midigpt knows.
_PUBLIC_ARCHITECTURE = "gpt2"


def load_checkpoint(
    path: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    allow_unsafe: bool = False,
) -> Bundle:
    """The bundle at ``path``: a ``.pt`` or ``.safetensors`` file, or a folder.

    Tensors arrive on ``device``, converted to ``dtype`` if given. The file is treated as hostile: nothing in it is run,
    unless its format says that it cannot be read otherwise and ``allow_unsafe`` permits that. Raises
    :class:`midigpt_core.errors.CheckpointError` naming the file and what is wrong, also if the encoder's vocabulary and
    the model's differ, and :class:`midigpt_core.errors.PluginError` for a component that is not installed.
    """
    source = usable_path(path, what="bundle", error=CheckpointError)
    with os_errors_explained(source):
        found = find_format(source, allow_unsafe=allow_unsafe)
        with faults_named((found.ref(),), lambda: f"reading {source}", system=False):
            bundle = _built(found, allow_unsafe=allow_unsafe).load(source, device, dtype)
    check_encoder(bundle, source)
    return bundle


def save_bundle(bundle: Bundle, path: str | os.PathLike[str], format_name: str | None = None) -> Path:
    """Write ``bundle`` to ``path``, atomically, in the named format or the format of its suffix; returns the path.

    A bundle of another program, which has no provenance, gets one that says so. Raises
    :class:`midigpt_core.errors.CheckpointError` if no format that can write fits.
    """
    target = usable_path(path, what="bundle", error=CheckpointError)
    writer = _writer(target, format_name)
    with faults_named((writer.ref(),), lambda: f"writing {target}", system=False):
        _built(writer).save(_with_provenance(bundle), target)
    if not target.exists():
        raise ComponentError(str(writer.ref()), f"writing {target}", FileNotFoundError("save() wrote nothing there"))
    return target


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    format_name: str | None = None,
    dtype: torch.dtype | None = None,
    allow_unsafe: bool = False,
) -> Path:
    """Read the bundle at ``source`` and write it to ``target`` in the format that its name selects; returns ``target``.

    Weights, encoder and provenance stay as they are, bit for bit unless ``dtype`` asks for another precision. Warns of
    a format that programs read which do not know the architecture, or how the model numbers filled bars.
    """
    check_conversion(source, target, format_name=format_name, allow_unsafe=allow_unsafe)
    bundle = load_checkpoint(source, dtype=dtype, allow_unsafe=allow_unsafe)
    path = save_bundle(bundle, target, format_name)
    spec = spec_of(_writer(path, format_name))
    if spec.read_elsewhere and bundle.architecture != _PUBLIC_ARCHITECTURE:
        _log.warning(
            "%s: the public package midigpt reads %s alone, not %s.", path, _PUBLIC_ARCHITECTURE, bundle.architecture
        )
    elif spec.read_elsewhere and infill_positions(bundle) == PLACEHOLDER:
        _log.warning(
            "%s: infill_positions is 'placeholder', which the public package midigpt does not know: there the model"
            " continues music but does not fill in bars. For that, train with infill_positions sequence.",
            path,
        )
    return path


def check_conversion(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    format_name: str | None = None,
    allow_unsafe: bool = False,
) -> None:
    """Raise those errors of :func:`convert` that can be found without torch: no bundle to read, no format to write."""
    _writer(usable_path(target, what="bundle", error=CheckpointError), format_name)
    existing = usable_path(source, what="bundle", error=CheckpointError)
    with os_errors_explained(existing):
        find_format(existing, allow_unsafe=allow_unsafe)


def _with_provenance(bundle: Bundle) -> Bundle:
    if "midigpt_core" in bundle.provenance:
        return bundle
    components = (architecture_ref(bundle), encoder_ref(bundle))
    return attrs.evolve(bundle, provenance={**imported_provenance(components), **bundle.provenance})


def _writer(path: Path, format_name: str | None) -> Provided:
    """The format for a new bundle: the one named, else that of the suffix; a name without a suffix is a folder."""
    provided = _by_suffix(path) if format_name is None else current_registry().find(Kind.CHECKPOINT_FORMAT, format_name)
    if not spec_of(provided).can_save:
        writable = ", ".join(item.spec.name for item in formats() if spec_of(item).can_save)
        raise CheckpointError(f"{path}: the format {provided.spec.name!r} can only be read. Use one of: {writable}.")
    known = {suffix for item in formats() for suffix in spec_of(item).suffixes}
    if path.suffix in known - {*spec_of(provided).suffixes}:
        raise CheckpointError(
            f"{path}: a name that ends in {path.suffix} is of another format than {provided.spec.name!r}, and would be "
            "read as that. Choose another name, or leave out the format."
        )
    return provided


def _by_suffix(path: Path) -> Provided:
    for provided in formats():
        spec = spec_of(provided)
        if path.suffix in spec.suffixes or (not path.suffix and spec.is_dir and spec.can_save):
            return provided
    suffixes = [suffix for provided in formats() for suffix in spec_of(provided).suffixes]
    raise CheckpointError(
        f"{path}: no format is known for the suffix {path.suffix!r}. Use a name that ends in one of: "
        f"{', '.join(suffixes)}; without a suffix it becomes a folder."
    )


def _built(provided: Provided, *, allow_unsafe: bool = False) -> CheckpointFormat:
    return cast("CheckpointFormat", build(provided.ref(), FormatContext(allow_unsafe=allow_unsafe)))
