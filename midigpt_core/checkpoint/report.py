"""Describes a bundle from its header, and finds the differences between two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from midigpt_core.checkpoint.assemble import infill_positions
from midigpt_core.checkpoint.encoder_hash import encoder_sha256
from midigpt_core.checkpoint.headers import format_name_of, read_header, size_on_disk
from midigpt_core.checkpoint.layouts import LAYOUTS
from midigpt_core.errors import CheckpointError
from midigpt_core.paths import usable_path

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping


#: Properties of the file, not of the bundle, or implied by other fields.
_NOT_COMPARED = ("path", "bytes", "format", "parameters", "vocab_size", "encoder_sha256", "infill_positions")


@frozen(kw_only=True)
class BundleReport:
    """The header of one bundle. Text comes from the file: show it through ``printable``."""

    path: str
    bytes: int
    format: str
    architecture: str
    architecture_config: Mapping[str, Any]
    #: Trainable parameters; for an architecture of a plugin, the numbers in the file's tensors. None where the format
    #: does not tell them without reading the tensors.
    parameters: int | None
    #: Rows of the token embedding; None where the architecture's configuration does not say.
    vocab_size: int | None
    encoder: str
    #: Of the encoder's configuration (:func:`midigpt_core.checkpoint.encoder_hash.encoder_sha256`).
    encoder_sha256: str
    encoder_config: Mapping[str, Any]
    #: How filled bars are numbered: ``sequence`` or ``placeholder``.
    infill_positions: str
    provenance: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return asdict(self)


def inspect(path: str | os.PathLike[str]) -> BundleReport:
    """The report of the bundle at ``path``; loads no tensor and builds no component."""
    source = usable_path(path, what="bundle", error=CheckpointError)
    header = read_header(source)
    layout = LAYOUTS.get(header.architecture)
    return BundleReport(
        path=str(source),
        bytes=size_on_disk(source),
        format=format_name_of(source),
        architecture=header.architecture,
        architecture_config=header.architecture_config,
        parameters=(
            header.stored_numbers if layout is None else layout.parameter_count(header.architecture_config, source)
        ),
        vocab_size=header.architecture_config.get("vocab_size"),
        encoder=header.encoder,
        encoder_sha256=encoder_sha256(header.encoder_config),
        encoder_config=header.encoder_config,
        infill_positions=infill_positions(header),
        provenance=header.provenance,
    )


def differences(first: BundleReport, second: BundleReport) -> list[tuple[str, Any, Any]]:
    """``(field, in the first, in the second)`` for every value that differs, field by dotted field.

    The location and the format of a bundle are not compared; a field that is missing on one side is None there.
    """
    sides = [
        {key: value for key, value in report.to_dict().items() if key not in _NOT_COMPARED}
        for report in (first, second)
    ]
    return list(different_values("", *sides))


def different_values(name: str, first: Any, second: Any) -> Iterator[tuple[str, Any, Any]]:
    """``(place, in the first, in the second)`` for each difference of two trees of plain values called ``name``."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in {**first, **second}:
            yield from different_values(f"{name}.{key}" if name else str(key), first.get(key), second.get(key))
    elif first != second:
        yield name, first, second
