"""Configuration files: JSON, YAML or TOML into plain values. One shape for all three."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from midigpt_core.errors import ConfigError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping


class _Duplicate(ValueError):
    pass


class _YamlLoader(yaml.SafeLoader):
    """Safe YAML where ``1e-4`` is a number, as in YAML 1.2, and a key may stand once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise _Duplicate(f"key {key!r} stands twice (line {key_node.start_mark.line + 1})")
            seen.add(key)
        return super().construct_mapping(node, deep)


_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Duplicate(f"key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return values


def _read_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_json_object)


def _read_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_YamlLoader)


_READERS: Mapping[str, Callable[[str], Any]] = {
    ".json": _read_json,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".toml": tomllib.loads,
}


def read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping in a ``.json``, ``.yaml``, ``.yml`` or ``.toml`` file.

    Raises :class:`ConfigError` if the file is missing, of another kind, malformed, or holds no mapping.
    """
    file = Path(path)
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise ConfigError(f"{file}: a configuration is a {', '.join(sorted(_READERS))} file. Rename or convert it.")
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 text. Save it as UTF-8.") from error
    try:
        values = reader(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file}: is not valid {file.suffix[1:].upper()}: {reason}. Correct it.") from error
    if values is None and not text.strip():
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: holds {type(values).__name__}, not a mapping of keys to values. Correct it.")
    return values
