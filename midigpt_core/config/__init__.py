"""Configuration: :class:`TrainConfig`, and strict structuring of plain values into typed ones.

``reading`` turns a JSON, YAML or TOML file into plain values, ``structure`` checks them against types, ``train`` holds
the fields, ``choices`` the components they choose, ``overrides`` ``--set``, ``convert`` files of midigpt 0.4.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.lazy import lazy_names

if TYPE_CHECKING:
    from midigpt_core.config.overrides import apply_overrides
    from midigpt_core.config.train import TrainConfig

__all__ = ["TrainConfig", "apply_overrides"]

_HOMES = {"TrainConfig": ".train", "apply_overrides": ".overrides"}


__getattr__ = lazy_names(__name__, _HOMES)
