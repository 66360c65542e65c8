"""What the plugin provides: the mask strategies ``random``, ``structured`` and ``mixed``."""

from __future__ import annotations

from midigpt_core import hookimpl
from midigpt_core.components import MaskSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_masks() -> list[MaskSpec]:
    return [
        MaskSpec(
            name="random",
            summary="masks single bars anywhere in the window",
            target="midigpt_masking.random_bars:build",
            options="midigpt_masking.random_bars:RandomOptions",
            requires=frozenset({"mask_bar"}),
        ),
        MaskSpec(
            name="structured",
            summary="masks the bars that follow a point in time, in most tracks",
            target="midigpt_masking.structured:build",
            options="midigpt_masking.structured:StructuredOptions",
            requires=frozenset({"mask_bar"}),
        ),
        MaskSpec(
            name="mixed",
            summary="random or structured, with equal probability",
            target="midigpt_masking.mixed:build",
            options="midigpt_masking.mixed:MixedOptions",
            requires=frozenset({"mask_bar"}),
        ),
    ]
