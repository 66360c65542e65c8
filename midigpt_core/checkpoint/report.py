"""What a bundle says of itself, read from its header, and what differs between two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from midigpt_core.checkpoint.bundles import format_name_of, read_header
from midigpt_core.checkpoint.gpt2_layout import Gpt2Size, parameter_count

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping


@frozen(kw_only=True)
class BundleReport:
    """The header of one bundle. Text comes from the file: show it through ``printable``."""

    path: str
    bytes: int
    format: str
    architecture: str
    architecture_config: Mapping[str, Any]
    #: None where the architecture's layout is not known here.
    parameters: int | None
    encoder: str
    encoder_config: Mapping[str, Any]
    provenance: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return asdict(self)


def inspect(path: str | os.PathLike[str]) -> BundleReport:
    """The report of the bundle at ``path``; loads no tensor and builds no component."""
    source = Path(path)
    header = read_header(source)
    parameters = None
    if header.architecture == "gpt2":
        parameters = parameter_count(Gpt2Size.from_config(header.architecture_config, source))
    files = [item for item in source.iterdir() if item.is_file()] if source.is_dir() else [source]
    return BundleReport(
        path=str(source),
        bytes=sum(item.stat().st_size for item in files),
        format=format_name_of(source),
        architecture=header.architecture,
        architecture_config=header.architecture_config,
        parameters=parameters,
        encoder=header.encoder,
        encoder_config=header.encoder_config,
        provenance=header.provenance,
    )


def differences(first: BundleReport, second: BundleReport) -> list[tuple[str, Any, Any]]:
    """``(field, in the first, in the second)`` for every value that differs, field by dotted field.

    Where a bundle lies and in which format is no difference; a field that one side lacks is None there.
    """
    sides = [
        {key: value for key, value in report.to_dict().items() if key not in ("path", "bytes", "format")}
        for report in (first, second)
    ]
    return list(_differences("", *sides))


def _differences(name: str, first: Any, second: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(first, dict) and isinstance(second, dict):
        for key in {**first, **second}:
            yield from _differences(f"{name}.{key}" if name else str(key), first.get(key), second.get(key))
    elif first != second:
        yield name, first, second
