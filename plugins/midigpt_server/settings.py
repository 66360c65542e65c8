"""What a server is started with: options of the command line, or the YAML file that 0.4.2 reads."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import click
from attrs import Factory, evolve, frozen

from midigpt_core.checkpoint.adapter_files import NAME, adapter_path
from midigpt_core.checkpoint.hub import DEFAULT_REPO
from midigpt_core.config.reading import read_mapping
from midigpt_core.config.wording import key_name, spell
from midigpt_core.errors import ConfigError, nearest
from midigpt_core.terminal import logger
from midigpt_server.ranges import DEVICES, LOG_LEVELS, MOST_AT_ONCE, PARALLEL, PORT, QUEUE, SECONDS
from midigpt_server.scores import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_log = logger(__name__)
#: Text, one of some words, or a number.
_Kind: TypeAlias = "type[str] | tuple[str, ...] | click.IntRange | click.FloatRange"


@frozen(kw_only=True)
class ModelSettings:
    id: str
    #: A bundle or a legacy folder; else ``pretrained``.
    checkpoint: str | None = None
    #: Name in the Hub repository ``hf_repo``.
    pretrained: str | None = None
    hf_repo: str = DEFAULT_REPO
    hf_token: str | None = None
    #: One of :data:`midigpt_server.ranges.DEVICES`.
    device: str = "cpu"
    #: Generations at once, in one batch.
    max_parallel: int = MOST_AT_ONCE
    #: Files of adapters by the ids of the models that they make of this one.
    adapters: Mapping[str, str] = Factory(dict)


@frozen(kw_only=True)
class ServerSettings:
    models: Sequence[ModelSettings]
    default_model: str | None = None
    host: str = "127.0.0.1"
    port: int = 3456
    #: UDP port of the session over OSC; None: there is none.
    osc_port: int | None = None
    #: Requests waiting or running, of all models.
    max_queue: int = 64
    #: A longer generation is cancelled; 0: none is.
    max_generation_seconds: float = 0.0
    #: The server ends after so many seconds without a request; 0: never.
    idle_timeout: float = 0.0
    #: Web pages of these origins may call the server.
    allowed_origins: Sequence[str] = ()
    #: Values of the Host header that are answered besides the server's own address.
    allowed_hosts: Sequence[str] = ()
    max_body_bytes: int = 16 * 2**20
    #: The same for the studio's export, whose body is the largest song as JSON and the file that it was read from.
    max_export_bytes: int = 64 * 2**20
    score_limits: Limits = Factory(Limits)
    log_level: str = "INFO"


#: Keys of the file that win over the flags.
_SERVER_KEYS: Mapping[str, _Kind] = {
    "host": str,
    "port": PORT,
    "idle_timeout": SECONDS,
    "log_level": LOG_LEVELS,
    "max_queue": QUEUE,
    "max_generation_seconds": SECONDS,
}
#: What only options set.
_OPTIONS_ONLY = frozenset({"allow_host", "allow_origin", "osc"})
_MOST_NAMED = 20
_USUAL_PORTS = {"http": 80, "https": 443}
_MODEL_DEFAULTS: Mapping[str, _Kind] = {"hf_repo": str, "hf_token": str, "device": DEVICES, "max_parallel": PARALLEL}


def from_file(path: str, base: ServerSettings) -> ServerSettings:
    """``base`` with the values of a YAML file. Unknown keys have no effect, and a warning names them.

    Raises ConfigError.
    """
    content = read_mapping(path, otherwise=".yaml")
    _warn_of_unknown(content, {*_SERVER_KEYS, *_MODEL_DEFAULTS, "models", "default_model"}, path)
    changes: dict[str, Any] = {
        key: _typed(content[key], kind, f"{path}: {key}") for key, kind in _SERVER_KEYS.items() if key in content
    }
    listed = content.get("models")
    if not isinstance(listed, list) or not listed:
        raise ConfigError(f"{path}: models: expected a list of models, got {spell(listed)}. Name at least one.")
    defaults = {
        key: _typed(content[key], kind, f"{path}: {key}")
        for key, kind in _MODEL_DEFAULTS.items()
        if content.get(key) is not None
    }
    models = [_model(entry, f"{path}: models[{index}]", defaults) for index, entry in enumerate(listed)]
    ids = [name for model in models for name in (model.id, *model.adapters)]
    if twice := next((name for name in ids if ids.count(name) > 1), None):
        raise ConfigError(f"{path}: models: the id {twice!r} is given twice. Rename one.")
    default = content.get("default_model")
    if default is not None and default not in ids:
        raise ConfigError(f"{path}: default_model is {spell(default)}. Choose one of {', '.join(ids)}.")
    return evolve(base, models=models, default_model=default, **changes)


def _model(entry: Any, where: str, defaults: Mapping[str, Any]) -> ModelSettings:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or not entry["id"]:
        raise ConfigError(f"{where}: expected a mapping with an id, got {spell(entry)}. Add the id.")
    _warn_of_unknown(entry, {*_MODEL_DEFAULTS, "id", "ckpt", "pretrained", "adapters"}, where)
    own = {
        key: _typed(entry[key], kind, f"{where}.{key}")
        for key, kind in {**_MODEL_DEFAULTS, "ckpt": str, "pretrained": str}.items()
        if entry.get(key) is not None
    }
    adapters = entry.get("adapters") or {}
    if not isinstance(adapters, dict):
        raise ConfigError(f"{where}.adapters: expected a mapping of ids to files, got {spell(adapters)}. Correct it.")
    for name, path in adapters.items():
        _typed(name, str, f"{where}.adapters: an id")
        _typed(path, str, f"{where}.adapters.{name}")
    if ("ckpt" in own) == ("pretrained" in own):
        raise ConfigError(f"{where}: expected one of ckpt and pretrained. Give exactly one.")
    checkpoint = own.pop("ckpt", None)
    return ModelSettings(id=entry["id"], checkpoint=checkpoint, adapters=adapters, **{**defaults, **own})


def _warn_of_unknown(content: Mapping[Any, Any], known: set[str], where: str) -> None:
    for key in [key for key in content if key not in known][:_MOST_NAMED]:
        name = key_name(key)
        hint = f" Give it as --{name.replace('_', '-')}." if name in _OPTIONS_ONLY else nearest(name, known)
        _log.warning("%s: %s has no effect: there is no such key.%s", where, name, hint)


def origin_of(text: str) -> str:
    """An origin as browsers send it: ``https://example.org`` for ``HTTPS://example.org:443/``.

    Raises ConfigError for what no browser sends, such as a name without a scheme or an address with a path.
    """
    if text == "null":  # of pages that are files
        return text
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if not parts.scheme or not parts.hostname or "@" in parts.netloc or parts.path not in ("", "/") or "*" in text:
        raise ConfigError(
            f"--allow-origin {text!r}: not an origin. Write its scheme, name and port without a path, such as "
            "https://example.org or http://localhost:8080, and the option once for each."
        )
    if parts.query or parts.fragment:
        raise ConfigError(f"--allow-origin {text!r}: not an origin. Leave out what follows the name and port.")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{name}" + ("" if port in (None, _USUAL_PORTS.get(parts.scheme)) else f":{port}")


def host_of(text: str) -> str:
    """The name in a Host header, lower-case and without its port. Raises ConfigError for an address or a pattern."""
    name = name_in_header(text.lower())
    if not re.fullmatch(r"[\w.-]+", name) and not is_address(name):
        raise ConfigError(
            f"--allow-host {text!r}: not a name. Write the name alone, such as studio.example, and the option once for "
            "each."
        )
    return name


def name_in_header(header: str) -> str:
    """The name of a Host header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] or header if header.rpartition(":")[2].isdecimal() else header


def is_address(host: str) -> bool:
    """Whether a host is an address of the internet protocol, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def adapters_of(given: Sequence[str], taken: str) -> dict[str, str]:
    """The adapters of a command line, ``NAME=FILE`` or ``FILE``, by id; ``taken`` is the id of their base. Without a
    name it is that of the file or, for ``adapter.safetensors``, of its folder. Raises ConfigError."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals:
            file = adapter_path(text)
            name, path = (file.resolve().parent.name if file.name == NAME else file.stem), text
        if not name or not path:
            raise ConfigError(f"--adapter {text!r}: expected NAME=FILE or FILE. Correct it.")
        if name in (taken, *found):
            raise ConfigError(f"--adapter {text!r}: there is a model called {name!r} already. Name it: NAME=FILE.")
        found[name] = path
    return found


def _typed(value: Any, kind: _Kind, where: str) -> Any:
    if isinstance(kind, click.IntRange | click.FloatRange):
        whole = isinstance(kind, click.IntRange)
        assert kind.min is not None
        assert kind.max is not None
        is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not is_number or not kind.min <= value <= kind.max:
            wanted = "a whole number" if whole else "a number"
            raise ConfigError(f"{where} is {spell(value)}. Choose {wanted} from {kind.min:,.0f} to {kind.max:,.0f}.")
        return value
    if isinstance(kind, tuple):
        # In capitals or not, as on the command line.
        found = next((name for name in kind if str(value).lower() == name.lower()), None)
        if found is None:
            raise ConfigError(f"{where} is {spell(value)}. Choose one of {', '.join(kind)}.")
        return found
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where}: expected text, got {spell(value)}. Correct it.")
    return value
