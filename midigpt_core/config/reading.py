"""Configuration files: JSON, YAML or TOML into plain values. One shape for all three."""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from collections import Counter
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import yaml

from midigpt_core import files
from midigpt_core.config.wording import spell
from midigpt_core.errors import ConfigError
from midigpt_core.paths import usable_path

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping


#: Limits of a configuration file: bytes, values (an aliased value counts each time), and levels of nesting.
_MOST_BYTES = 16 << 20
_MOST_VALUES = 1_000_000
_MOST_LEVELS = 100
#: Limits of a number, in digits and in bits: no setting needs more, and Python is slow with longer ones.
_MOST_DIGITS = 1000
_MOST_BITS = 4000
_SHORT = f"of at most {_MOST_DIGITS:,} digits"


class Unfit(ValueError):
    """A problem with the content of a file, and where it is."""


# libyaml, where PyYAML was built with it, reads five times as fast.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _YamlLoader(_SafeLoader):  # type: ignore[misc]
    """Safe YAML of plain values where ``1e-4`` is a number, as in YAML 1.2, and a key may occur only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            # The base class rejects anything that cannot be a key, and gives its position.
            if not isinstance(key, Hashable):
                continue
            if key in seen:
                raise Unfit(f"key {spell(key)} occurs twice (line {key_node.start_mark.line + 1})")
            seen.add(key)
        values: dict[Any, Any] = super().construct_mapping(node, deep)
        return values


def _strictly(construct: Callable[[Any, Any], Any], what: str) -> Callable[[_YamlLoader, yaml.ScalarNode], Any]:
    """A PyYAML constructor that reports text that does not fit its explicit tag: ``!!bool maybe``, ``!!int ""``."""

    def constructor(loader: _YamlLoader, node: yaml.ScalarNode) -> Any:
        cause: Exception | None = None
        # "1:1:1" is a number in base 60, and converting a long one takes hours.
        if len(str(node.value)) <= _MOST_DIGITS:
            try:
                return construct(loader, node)
            except (ValueError, LookupError, ArithmeticError) as error:
                cause = error
        problem = f"{spell(node.value)} is not {what}"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from cause

    return constructor


#: The types of a configuration. Dates, sets and the like are not allowed: an unknown tag is an error with its position,
#: and what looks like a date is text, as in YAML 1.2.
_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")
_YamlLoader.yaml_constructors = {
    None: yaml.SafeLoader.yaml_constructors[None],
    **{f"tag:yaml.org,2002:{name}": yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{name}"] for name in _PLAIN},
    "tag:yaml.org,2002:bool": _strictly(yaml.SafeLoader.construct_yaml_bool, "true or false"),
    "tag:yaml.org,2002:int": _strictly(yaml.SafeLoader.construct_yaml_int, f"an integer {_SHORT}"),
    "tag:yaml.org,2002:float": _strictly(yaml.SafeLoader.construct_yaml_float, f"a number {_SHORT}"),
}
_YamlLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise Unfit(f"key {spell(next(name for name in counts if counts[name] > 1))} occurs twice")
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


def require_bounded(values: object) -> None:
    """Raise :class:`Unfit` for more, deeper or larger values than a configuration may have; a value that an alias
    repeats counts each time."""
    level, count, depth = [values], 0, 0
    while level:
        count += len(level)
        if count > _MOST_VALUES:
            raise Unfit(f"it contains more than {_MOST_VALUES:,} values, with aliased values counted each time")
        if depth > _MOST_LEVELS:
            raise Unfit(f"its values nest deeper than {_MOST_LEVELS} levels")
        if any(isinstance(value, int) and value.bit_length() > _MOST_BITS for value in level):
            raise Unfit(f"it contains an integer that is not {_SHORT}")
        # A level that is too wide is not built beyond the limit.
        level = list(itertools.islice(itertools.chain.from_iterable(map(_inside, level)), _MOST_VALUES + 1))
        depth += 1


def _inside(value: object) -> Iterable[Any]:
    if isinstance(value, dict):
        return itertools.chain(value, value.values())
    return value if isinstance(value, list) else ()


def read_mapping(path: str | os.PathLike[str], *, otherwise: str | None = None) -> dict[str, Any]:
    """The mapping in a ``.json``, ``.yaml``, ``.yml`` or ``.toml`` file; files with another suffix are read as those
    with the suffix ``otherwise``.

    Raises :class:`ConfigError` if the file is missing, of another kind, too large, malformed, or does not contain a
    mapping.
    """
    file = usable_path(path, what="configuration", error=ConfigError)
    suffix = file.suffix.lower()
    if suffix not in _READERS and otherwise is not None:
        suffix = otherwise
    reader = _READERS.get(suffix)
    if reader is None:
        presets = "" if file.suffix else " 'midigpt config presets' lists what comes with the package."
        raise ConfigError(
            f"{file}: a configuration is a {', '.join(sorted(_READERS))} file. Rename or convert it.{presets}"
        )
    try:
        # Windows editors begin a file with a byte-order mark, which is not part of the text.
        text = files.read_bytes(file, _MOST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 text. Save it as UTF-8.") from error
    kind = suffix[1:].upper()
    try:
        values = reader(text)
        require_bounded(values)
    except Unfit as error:
        raise ConfigError(f"{file}: {error}. Correct it.") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{file}: is not valid {kind}: {_reason(error)}. Correct it.") from error
    if values is None and not text.strip():
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: contains {type(values).__name__}, not a mapping of keys to values. Correct it.")
    return values


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "its values nest too deep"
    # Python's message about long integers is meant for programmers.
    if "integer string conversion" in str(error):
        return f"it contains an integer that is not {_SHORT}"
    # YAML puts the name of its input before every position.
    return " ".join(str(error).replace('in "<unicode string>", ', "at ").split())
