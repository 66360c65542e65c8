"""What a plugin can provide. Start reading here.

A plugin is a light module named by an entry point in the group ``midigpt_core.plugins``. It implements any of the
hooks below, each a function without arguments that returns frozen records (:mod:`midigpt_core.components`). The hooks
run once, the first time their kind of component is looked up, so the module must not import torch, NumPy or anything
else that takes time: a record names its factory by import string.

A whole plugin::

    from midigpt_core import hookimpl
    from midigpt_core.components import MaskSpec

    MIDIGPT_API = 1

    @hookimpl
    def midigpt_masks():
        return [MaskSpec(name="swing", summary="hides every other bar", target="midigpt_plugin_acme.swing:build",
                         options="midigpt_plugin_acme.swing:SwingOptions")]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lightning.pytorch.callbacks import Callback

    from midigpt_core.components import (
        ArchitectureSpec,
        CheckpointFormatSpec,
        EncoderSpec,
        LoggerSpec,
        MaskSpec,
        SourceSpec,
    )
    from midigpt_core.contracts import RunContext

#: The version of the hooks and contracts; a plugin states the one it was written for as ``MIDIGPT_API``.
API_VERSION = 1

hookspec = pluggy.HookspecMarker("midigpt_core")
hookimpl = pluggy.HookimplMarker("midigpt_core")


@hookspec
def midigpt_sources() -> Iterable[SourceSpec]:  # type: ignore[empty-body]
    """Where pieces come from.

    ::

        @hookimpl
        def midigpt_sources():
            return [SourceSpec(name="folder", summary="a folder of .mid files", target="acme.folder:build")]

    The factory takes ``(options, SourceContext)`` and returns a :class:`midigpt_core.contracts.Source`.
    """


@hookspec
def midigpt_encoders() -> Iterable[EncoderSpec]:  # type: ignore[empty-body]
    """Tokens from windows, windows from tokens.

    ::

        @hookimpl
        def midigpt_encoders():
            return [EncoderSpec(name="remi", summary="REMI tokens", target="acme.remi:build", provides={"infill"})]

    The factory takes ``(options, EncoderContext)`` and returns a :class:`midigpt_core.contracts.Encoder`;
    :class:`midigpt_core.contracts.WindowEncoder` is a base class that needs only one method per window.
    """


@hookspec
def midigpt_masks() -> Iterable[MaskSpec]:  # type: ignore[empty-body]
    """Which bars are hidden.

    ::

        @hookimpl
        def midigpt_masks():
            return [MaskSpec(name="swing", summary="hides every other bar", target="acme.swing:build")]

    The factory takes ``(options, MaskContext)`` and returns a :class:`midigpt_core.contracts.MaskStrategy`.
    """


@hookspec
def midigpt_architectures() -> Iterable[ArchitectureSpec]:  # type: ignore[empty-body]
    """The model.

    ::

        @hookimpl
        def midigpt_architectures():
            return [ArchitectureSpec(name="llama", summary="rotary positions", target="acme.llama:build")]

    The factory takes ``(options, ArchitectureContext)`` and returns a ``torch.nn.Module`` that satisfies
    :class:`midigpt_core.contracts.Architecture`.
    """


@hookspec
def midigpt_loggers() -> Iterable[LoggerSpec]:  # type: ignore[empty-body]
    """A Lightning logger.

    ::

        @hookimpl
        def midigpt_loggers():
            return [LoggerSpec(name="mlflow", summary="MLflow", target="acme.mlflow:build")]

    The factory takes ``(options, LoggerContext)`` and returns a Lightning ``Logger`` or None. One with the method of
    :class:`midigpt_core.contracts.SampleLogger` is also given the samples of ``sample_steps``.
    """


@hookspec
def midigpt_checkpoint_formats() -> Iterable[CheckpointFormatSpec]:  # type: ignore[empty-body]
    """A way to store a bundle (weights and encoder, what inference needs).

    ::

        @hookimpl
        def midigpt_checkpoint_formats():
            return [CheckpointFormatSpec(name="npz", summary="NumPy archive", target="acme.npz:build",
                                         suffixes=(".npz",))]

    The factory takes ``(options, FormatContext)`` and returns a :class:`midigpt_core.contracts.CheckpointFormat`.
    """


@hookspec
def midigpt_callbacks(run: RunContext) -> Iterable[Callback]:  # type: ignore[empty-body]
    """Lightning callbacks of a training run; the only extension point that is called per step.

    ::

        @hookimpl
        def midigpt_callbacks(run):
            from acme.callbacks import Bell
            return [Bell(run.run_dir)]

    Called once, before the fit starts.
    """
