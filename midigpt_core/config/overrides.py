"""``--set a.b=c``: one value of a configuration from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from midigpt_core.config import choices
from midigpt_core.config.reading import require_bounded
from midigpt_core.config.train import is_path, setting_names, setting_type
from midigpt_core.config.wording import listed
from midigpt_core.errors import ConfigError
from midigpt_core.kinds import RUN_KINDS
from midigpt_core.paths import EMPTY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from midigpt_core.config.train import TrainConfig


def apply_overrides(config: TrainConfig, assignments: Iterable[str], origin: str = "--set") -> None:
    """Apply ``key=value`` and ``component.option=value`` texts, later ones over earlier ones, options last.

    Values are JSON (``0.5``, ``true``, ``[4, 8]``, ``null``); anything else is a string, and a string field takes the
    text unchanged. Raises one :class:`ConfigError` that lists every problem.
    """
    require_none(override_problems(config, assignments, origin))


def override_problems(config: TrainConfig, assignments: Iterable[str], origin: str = "--set") -> list[str]:
    """Apply the valid ``assignments``; returns the problems of the others."""
    problems = []
    # Options last: naming a component replaces all its options, whatever the order on the command line.
    for assignment in sorted(assignments, key=lambda text: "." in text.partition("=")[0]):
        try:
            _apply(config, assignment, origin)
        except ConfigError as error:
            problems.append(str(error))
    return problems


def require_none(problems: Sequence[str]) -> None:
    """Raise one :class:`ConfigError` if there are problems."""
    if problems:
        raise ConfigError(listed([("", problem) for problem in problems]))


def _apply(config: TrainConfig, assignment: str, origin: str) -> None:
    path, text = read_assignment(assignment, origin)
    name, dot, option = path.partition(".")
    if dot and name in setting_names():
        _set_option(config, name, option, read_value(text), origin)
        return
    if not text and name in setting_names() and is_path(name):
        raise ConfigError(f"{origin} {name}=: {EMPTY}. Leave it out.")
    is_text = name in setting_names() and setting_type(name) is str
    config.update({path: text if is_text else read_value(text)}, origin)


def read_assignment(assignment: str, origin: str = "--set") -> tuple[str, str]:
    """The two sides of ``key=value``. Raises :class:`ConfigError`."""
    path, equals, text = assignment.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"{origin} {assignment!r}: is not of the form key=value. Write e.g. {origin} seed=7.")
    return path.strip(), text


def read_value(text: str) -> Any:
    """The JSON value; the text itself if it is not JSON or is larger than any value of a configuration."""
    try:
        value = json.loads(text)
        require_bounded(value)
    except (ValueError, RecursionError):
        return text
    return value


def _set_option(config: TrainConfig, field: str, option: str, value: Any, origin: str) -> None:
    if field not in [kind.setting for kind in RUN_KINDS]:
        raise ConfigError(f"{origin}: {field}.{option}: {field} has no options. Set {field} itself.")
    if not option:
        raise ConfigError(f"{origin}: {field}.: names no option. Write {field}.OPTION=value.")
    current = getattr(config, field)
    choice = {} if current is None else choices.as_mapping(current)
    *outer, last = option.split(".")
    inner = choice
    for part in outer:
        nested = inner.get(part, {})
        if not isinstance(nested, dict):
            raise ConfigError(f"{origin}: {field}.{option}: {part} is a value, not a mapping. Set it as a whole.")
        inner[part] = dict(nested)
        inner = inner[part]
    inner[last] = value
    config.set_option(field, choice, option, origin)
