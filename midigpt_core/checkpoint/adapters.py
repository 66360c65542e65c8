"""Adapters and their bases: an adapter is stored on its own, and put into the weights of the model it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
import blake3
import torch
from attrs import frozen

from midigpt_core.checkpoint.adapter_files import BASE_FIELDS, KEY, AdapterHeader, adapter_path, described, opened
from midigpt_core.checkpoint.assemble import header_alone, with_weights
from midigpt_core.checkpoint.bundles import load_checkpoint
from midigpt_core.checkpoint.provenance import data_sources
from midigpt_core.checkpoint.report import different_values
from midigpt_core.checkpoint.safetensors_data import read_tensor, write
from midigpt_core.config.wording import spell
from midigpt_core.errors import CheckpointError, ComponentError, MidigptError, PluginError
from midigpt_core.kinds import Kind
from midigpt_core.paths import usable_path
from midigpt_core.plugins import current_registry, structure_options
from midigpt_core.plugins.targets import import_target
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from midigpt_core.components import AdapterSpec, ComponentRef
    from midigpt_core.contracts import AdapterMerge, Bundle, BundleHeader

#: The plugin whose adapters are recorded without its name.
_BUNDLED = "adapters"
_NEXT = "Choose another adapter."
#: Of provenance: what is known of a run's bundle alone.
_OF_A_RUN = frozenset({"corpus", "steps", "metrics", "copies", "evaluation", "held_out", "stream", "seed"})
#: Digits of a hash in messages.
_DIGITS = 12


@frozen(kw_only=True, eq=False)
class StoredAdapter(AdapterHeader):
    """An adapter with its weights."""

    #: Its weights by name, on the CPU.
    tensors: Mapping[str, Tensor]


def component_name(ref: ComponentRef) -> str:
    """How an adapter's file names a component."""
    return ref.name if ref.plugin == _BUNDLED else f"{ref.plugin}/{ref.name}"


def load_adapter(path: str | os.PathLike[str]) -> StoredAdapter:
    """The adapter at ``path``, a file or a run's folder. The file is treated as hostile: nothing in it is run.

    Raises :class:`midigpt_core.errors.CheckpointError`.
    """
    source = adapter_path(path)
    with opened(source) as stream:
        header, entries = described(source, stream)
        tensors = {name: read_tensor(source, stream, entry) for name, entry in entries.items()}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{source}: tensor {name[:80]!r} has values that are not finite numbers. {_NEXT}")
    fields = {field.name: getattr(header, field.name) for field in attrs.fields(AdapterHeader)}
    return StoredAdapter(**fields, tensors=tensors)


def save_adapter(adapter: StoredAdapter, path: str | os.PathLike[str]) -> Path:
    """Write ``adapter`` to ``path``, atomically; returns the path. Equal adapters give equal files."""
    target = usable_path(path, what="adapter", error=CheckpointError)
    write(adapter.tensors, {KEY: adapter.metadata()}, target)
    return target


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """BLAKE3, hexadecimal, of tensors by name, in float32: the same for a bundle in any format, and for weights in 16
    bits and the same numbers in 32."""
    digest = blake3.blake3()
    for name in sorted(state):
        numbers = state[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name}:{tuple(numbers.shape)};".encode())
        digest.update(numbers.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def base_record(header: BundleHeader, weights: str, name: str) -> dict[str, Any]:
    """What an adapter records of its base. ``weights``: :func:`weights_hash`; ``name``: what people call it."""
    return {
        "name": name,
        "architecture": header.architecture,
        "architecture_config": dict(header.architecture_config),
        "encoder": header.encoder,
        "encoder_config": dict(header.encoder_config),
        "weights": weights,
    }


def require_base(adapter: AdapterHeader, base: Mapping[str, Any]) -> None:
    """Raise :class:`midigpt_core.errors.CheckpointError` unless ``base`` (:func:`base_record`) is what ``adapter`` was
    trained on, naming the first field that differs."""
    for field in BASE_FIELDS:
        for name, theirs, ours in different_values(field, adapter.base[field], base[field]):
            is_hash = name == "weights"
            spelled = [str(value)[:_DIGITS] if is_hash else spell(value) for value in (ours, theirs)]
            raise CheckpointError(
                f"the adapter was trained on another model, {printable(adapter.base.get('name', 'without a name'))!r}: "
                f"{'the hash of its weights' if is_hash else name} is {spelled[0]} in {printable(base['name'])!r} and "
                f"{printable(spelled[1])} in the adapter's base. Choose that base."
            )


def merged_weights(
    adapter: str, options: Mapping[str, Any], tensors: Mapping[str, Tensor], base: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights of ``base`` that the adapter changes, with their new values, in float32.

    ``adapter`` and ``options`` are those of an :class:`AdapterHeader`; ``base`` has weights in float32. Equal arguments
    give equal weights, to the bit. Raises :class:`midigpt_core.errors.MidigptError` if the component is not installed,
    its options do not fit, or the tensors do not.
    """
    provided = current_registry().find(Kind.ADAPTER, adapter)
    ref, spec = provided.ref(options), cast("AdapterSpec", provided.spec)
    if spec.merge is None:
        raise PluginError(f"adapter {adapter!r} adapts nothing. Choose another adapter.")
    structured = structure_options(ref)
    function = cast("AdapterMerge", import_target(spec.merge, ref.import_paths))
    try:
        with torch.no_grad():
            changed = dict(function(structured, tensors, base))
    except MidigptError:
        raise
    except Exception as error:
        raise ComponentError(str(ref), "while it was merged", error) from error
    for name, tensor in changed.items():
        if name not in base or tensor.shape != base[name].shape or tensor.dtype != base[name].dtype:
            raise CheckpointError(f"{ref} does not fit its base: it changes {name[:80]!r}. {_NEXT}")
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{ref} gives {name[:80]!r} values that are not finite. {_NEXT}")
    return changed


def apply(
    adapters: Sequence[StoredAdapter], bundle: Bundle, *, name: str, weights: Sequence[float] | None = None
) -> Bundle:
    """``bundle``, called ``name``, with ``adapters`` in its weights, in float32.

    With one adapter of weight 1 these are the weights of the bundle that its run wrote, to the bit. Several are added:
    each counts its ``weights`` times, all once by default. Raises :class:`midigpt_core.errors.CheckpointError`,
    naming the first field that differs, for an adapter of another base.
    """
    base = {key: tensor.to("cpu", torch.float32) for key, tensor in bundle.state_dict.items()}
    record = base_record(bundle, weights_hash(base), name)
    counts = [1.0] * len(adapters) if weights is None else list(weights)
    state = dict(base)
    for adapter, count in zip(adapters, counts, strict=True):
        require_base(adapter, record)
        changed = merged_weights(adapter.adapter, adapter.options, adapter.tensors, base)
        if len(adapters) == 1 and count == 1.0:
            state |= changed
        else:
            for key, tensor in changed.items():
                state[key] = state[key] + (tensor - base[key]) * count
    for key, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"the weights {key[:80]!r} are not finite with these adapters. Give smaller weights.")
    made_of = [
        {"adapter": adapter.adapter, "weight": count, "base": record["name"]}
        for adapter, count in zip(adapters, counts, strict=True)
    ]
    if len(adapters) == 1 and counts == [1.0]:
        provenance = dict(adapters[0].provenance)
    else:
        # What was measured of the base, and the corpus of its run, are not those of this bundle.
        kept = {key: value for key, value in bundle.provenance.items() if key not in _OF_A_RUN}
        known = [bundle.provenance, *(adapter.provenance for adapter in adapters)]
        sources = [name for provenance in known for name in data_sources(provenance)]
        provenance = {**kept, "sources": [*dict.fromkeys(sources)], "adapters": made_of}
    return with_weights(attrs.evolve(header_alone(bundle), provenance=provenance), state)


def apply_files(
    paths: Sequence[str | os.PathLike[str]],
    base: str | os.PathLike[str],
    *,
    weights: Sequence[float] | None = None,
) -> Bundle:
    """:func:`apply` for files. Raises :class:`midigpt_core.errors.CheckpointError` that names the file."""
    adapters = [load_adapter(path) for path in paths]
    bundle = load_checkpoint(base)
    try:
        return apply(adapters, bundle, name=bundle_name(base), weights=weights)
    except CheckpointError as error:
        raise CheckpointError(f"{', '.join(map(str, map(adapter_path, paths)))}: {error}") from error


def bundle_name(path: str | os.PathLike[str]) -> str:
    """What people call the bundle at ``path``: the last part of it, never a folder of this machine."""
    return usable_path(path, what="bundle", error=CheckpointError).name
