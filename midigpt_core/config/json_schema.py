"""JSON Schema (draft 2020-12) of the values that an options class takes, as editors and other programs check them."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import validators

DRAFT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_SCALARS: Mapping[object, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Path: {"type": "string"},
    type(None): {"type": "null"},
    object: {},
    Any: {},
}
#: The bounds of attrs' numeric validators, by the comparison that they make.
_BOUNDS = {">=": "minimum", ">": "exclusiveMinimum", "<=": "maximum", "<": "exclusiveMaximum"}
_NUMBERS, _TEXT, _LISTS = ("integer", "number"), ("string",), ("array",)
#: The types that a keyword limits.
_ABOUT: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(_BOUNDS.values(), _NUMBERS),
    "minLength": _TEXT,
    "maxLength": _TEXT,
    "minItems": _LISTS,
    "maxItems": _LISTS,
    "enum": _NUMBERS + _TEXT,
}
# attrs does not export the classes of its validators.
_NUMBER: Any = type(validators.ge(0))
_IN: Any = type(validators.in_(()))
_MIN_LEN: Any = type(validators.min_len(0))
_MAX_LEN: Any = type(validators.max_len(0))
_AND: Any = type(validators.and_())
_OPTIONAL: Any = type(validators.optional(validators.ge(0)))


def schema_of(options_class: type, help_texts: Mapping[str, str]) -> Schema:
    """The schema of an attrs class: types, defaults, help, and the limits of attrs' own validators.

    ``help_texts`` describes fields by name. A limit that a class checks in code of its own is not in the schema, so
    what the schema accepts can still be refused by the component. Raises TypeError for a type that a configuration
    cannot contain.
    """
    hints = get_type_hints(options_class)
    defaults = options_class()
    properties: dict[str, Schema] = {}
    for field in attrs.fields(options_class):
        if not field.init:
            continue
        schema = _limited(_of_type(hints[field.name]), field.validator)
        if text := help_texts.get(field.name):
            schema["description"] = text
        schema["default"] = _plain(getattr(defaults, field.name))
        properties[field.alias or field.name] = schema
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _of_type(kind: Any) -> Schema:
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin in _SCALARS:
        return dict(_SCALARS[origin])
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of_type(member) for member in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if isinstance(origin, type):
        if issubclass(origin, Enum):
            return {"enum": [member.value for member in origin]}
        if attrs.has(origin):
            return schema_of(origin, {})
        if issubclass(origin, tuple) and arguments and arguments[-1] is not Ellipsis:
            places = [_of_type(member) for member in arguments]
            return {"type": "array", "prefixItems": places, "minItems": len(places), "maxItems": len(places)}
        if issubclass(origin, list | tuple) or origin is Sequence:
            return {"type": "array", **({"items": _of_type(arguments[0])} if arguments else {})}
        if issubclass(origin, dict) or origin is Mapping:
            return {"type": "object", **({"additionalProperties": _of_type(arguments[1])} if arguments else {})}
    raise TypeError(f"a value of type {kind!r} cannot be in a configuration")


def _limited(schema: Schema, validator: Any) -> Schema:
    """``schema`` with the limits of a validator; of a union, every part with those that fit its type."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [_limited(part, validator) for part in schema["anyOf"]]}
    limits = {name: value for name, value in _limits(validator).items() if schema.get("type") in _ABOUT[name]}
    return {**schema, **limits}


def _limits(validator: Any) -> Schema:
    """What attrs' own validators demand, as keywords of JSON Schema; nothing of any other callable."""
    if isinstance(validator, _AND):
        return {name: value for part in validator._validators for name, value in _limits(part).items()}
    if isinstance(validator, _OPTIONAL):
        return _limits(validator.validator)
    if isinstance(validator, _NUMBER):
        return {_BOUNDS[validator.compare_op]: validator.bound}
    if isinstance(validator, _MIN_LEN):
        return {"minLength": validator.min_length, "minItems": validator.min_length}
    if isinstance(validator, _MAX_LEN):
        return {"maxLength": validator.max_length, "maxItems": validator.max_length}
    if isinstance(validator, _IN) and all(isinstance(option, str | int | float) for option in validator.options):
        return {"enum": list(validator.options)}
    return {}


def _plain(value: object) -> Any:
    """A default as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if attrs.has(type(value)):
        kind: Any = type(value)
        return {str(field.alias): _plain(getattr(value, field.name)) for field in attrs.fields(kind) if field.init}
    if isinstance(value, Mapping):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(member) for member in value]
    return value
