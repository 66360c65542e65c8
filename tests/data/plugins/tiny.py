"""A local plugin for tests: encoders with a vocabulary and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import Factory, field, frozen
from attrs.validators import ge

from midigpt_core import hookimpl
from midigpt_core.components import EncoderSpec
from midigpt_core.contracts import Encoder, EncoderContext
from midigpt_core.records import Vocabulary

MIDIGPT_API = 1


@hookimpl
def midigpt_encoders() -> list[EncoderSpec]:
    return [
        EncoderSpec(name="tiny", summary="options one by one", target="tiny:build", options="tiny:TinyOptions"),
        EncoderSpec(name="whole", summary="one configuration", target="tiny:build_whole", options="tiny:WholeOptions"),
    ]


@frozen
class TinyOptions:
    size: int = field(default=97, validator=ge(1))


@frozen
class WholeOptions:
    config: dict[str, Any] = Factory(dict)


class TinyEncoder(Encoder):
    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config

    @property
    def vocabulary(self) -> Vocabulary:
        size = self._config["size"]
        return Vocabulary(
            size=size,
            type_names=("Token",),
            type_of=np.zeros(size, dtype=np.uint8),
            value_of=np.arange(size, dtype=np.int32),
        )

    @property
    def provides(self) -> frozenset[str]:
        return frozenset()

    def to_config(self) -> dict[str, Any]:
        return dict(self._config)

    def encode_batch(self, corpus: Any, windows: Any, max_tokens: Any) -> Any:
        raise NotImplementedError

    def decode(self, tokens: Any) -> Any:
        raise NotImplementedError


def build(options: TinyOptions, _context: EncoderContext) -> TinyEncoder:
    return TinyEncoder({"size": options.size})


def build_whole(options: WholeOptions, _context: EncoderContext) -> TinyEncoder:
    return TinyEncoder(options.config)
