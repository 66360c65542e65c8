"""What a plugin can provide. Start reading here, or at ``docs/plugins/README.md``, whose pages come from this file.

A plugin is a light module named by an entry point in the group ``midigpt_core.plugins``. It implements any of the
hooks below. Each but the last is a function without arguments that returns frozen records
(:mod:`midigpt_core.components`). It runs once, the first time that its kind of component is looked up, so the module
must not import torch, NumPy or anything else that takes time: a record names its factory by an import string.

A whole plugin::

    from midigpt_core import hookimpl
    from midigpt_core.components import MaskSpec

    MIDIGPT_API = 1

    @hookimpl
    def midigpt_masks():
        return [MaskSpec(name="swing", summary="masks every other bar", target="midigpt_plugin_acme.swing:build",
                         options="midigpt_plugin_acme.swing:SwingOptions")]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lightning.pytorch.callbacks import Callback

    from midigpt_core.components import (
        AdapterSpec,
        ArchitectureSpec,
        AttributeSpec,
        CheckpointFormatSpec,
        EncoderSpec,
        LoggerSpec,
        MaskSpec,
        MetricSpec,
        OptimizerSpec,
        SourceSpec,
    )
    from midigpt_core.contracts import RunContext

#: The version of the hooks and contracts; a plugin states the one it was written for as ``MIDIGPT_API``.
API_VERSION = 1

hookspec = pluggy.HookspecMarker("midigpt_core")
hookimpl = pluggy.HookimplMarker("midigpt_core")


@hookspec
def midigpt_sources() -> Iterable[SourceSpec]:  # type: ignore[empty-body]
    """Data sources: where pieces of music come from.

    Write one for music that is neither in parquet files nor in MIDI files of their own: an archive, a database, another
    notation that you turn into MIDI files in memory. A source only delivers rows. The core parses the MIDI files in
    processes of their own, counts what is lost and why, and keeps the result as a corpus.

    ::

        @hookimpl
        def midigpt_sources():
            return [SourceSpec(name="folder", summary="a folder of .mid files", target="acme.folder:build")]

    The factory takes ``(options, SourceContext)`` and returns a :class:`midigpt_core.contracts.Source`.

    When it is called: when a corpus is built or looked up, by ``midigpt preprocess``, ``train``, ``evaluate`` and
    ``corpus``; in the main process, never in a data worker. Several shards are read at a time, each in threads of its
    own, so shards must not share an open file. Paths are passed on as the user wrote them. A shard whose fingerprint
    has a corpus in the cache is not read again; the source's name and options belong to that key.

    Bad input: raise :class:`midigpt_core.errors.DataError` with one sentence that names the file, and the row or column
    if there is one, and ends with what to do next. The command prints it without a traceback and exits with code 2. Any
    other exception is reported as a bug of your plugin, with its name. You need not handle a row that is not valid
    MIDI: the core counts it under a reason, and the build continues. A row that your source leaves out must be counted
    in ``dropped``: if ``num_rows`` gives a number, it must equal the rows given plus the rows dropped.
    """


@hookspec
def midigpt_encoders() -> Iterable[EncoderSpec]:  # type: ignore[empty-body]
    """Encoders: tokens from windows of music, and music from tokens.

    Write one for another token language. :class:`midigpt_core.encoding.window_encoder.WindowEncoder` is a base class
    that needs one method for one window; it is the way to start. What a model may write is declared as a table, a
    :class:`midigpt_core.encoding.token_grammar.TokenGrammar` (docs/plugins/grammars.md). A subclass of
    :class:`midigpt_core.contracts.Encoder` reads whole batches from the columns of the corpus and can be a hundred
    times faster.

    ::

        @hookimpl
        def midigpt_encoders():
            return [EncoderSpec(name="remi", summary="REMI tokens", target="acme.remi:build", provides={"infill"})]

    The factory takes ``(options, EncoderContext)`` and returns an :class:`midigpt_core.contracts.Encoder`.

    When it is called: the encoder is built once in every process that needs it: the main process, each data worker, and
    every command that needs the encoder of a bundle. In training, ``encode_batch`` is called for some hundred windows
    at a time, again and again, so its speed limits the speed of training. ``decode`` and ``grammar`` are for
    generation; a model whose encoder has no grammar can be trained, but cannot generate.

    Bad input: a window that cannot be encoded is not an error. Give it no tokens and a
    :class:`midigpt_core.records.TokenStatus` that says why; the run counts it. Raise
    :class:`midigpt_core.errors.EncodingError` in ``decode`` for a token that is not yours, and
    :class:`midigpt_core.errors.ConfigError` in the factory for options that contradict one another. The core checks
    every batch: a token outside the vocabulary, a document longer than ``max_tokens`` or a status that contradicts the
    tokens ends the run with an error that names your encoder, the piece and its bars.
    """


@hookspec
def midigpt_masks() -> Iterable[MaskSpec]:  # type: ignore[empty-body]
    """Mask strategies: which bars of a training window the model does not get to see.

    Write one for another way to choose the bars. The core decides whether a window is masked at all
    (``mask_apply_probability``) and how a masked bar is written.

    ::

        @hookimpl
        def midigpt_masks():
            return [MaskSpec(name="swing", summary="masks every other bar", target="acme.swing:build",
                             requires={"mask_bar"})]

    The factory takes ``(options, MaskContext)`` and returns a :class:`midigpt_core.contracts.MaskStrategy`.

    When it is called: the strategy is built once in every process that draws windows: the main process and each data
    worker. ``mask`` is called for some hundred windows at a time. It must give equal results for equal keys whatever
    the batch, otherwise a run changes with the number of workers and cannot be resumed exactly.

    Bad input: there is none from users beyond the options; their class checks those. The core checks every result: a
    wrong shape or type, a masked bar outside the window, or a masked bar that is to be filled in ends the run with an
    error that names your mask, the piece, the track and the bar.
    """


@hookspec
def midigpt_architectures() -> Iterable[ArchitectureSpec]:  # type: ignore[empty-body]
    """Architectures: the model that is trained.

    Write one for another network than GPT-2 and Llama. It is a plain ``torch.nn.Module`` that turns token ids into
    logits. The loss, the optimiser, precision, several devices and checkpoints are the core's.

    ::

        @hookimpl
        def midigpt_architectures():
            return [ArchitectureSpec(name="lstm", summary="a recurrent network", target="acme.lstm:build")]

    The factory takes ``(options, ArchitectureContext)`` and returns a ``torch.nn.Module`` that satisfies
    :class:`midigpt_core.contracts.Architecture`.

    When it is called: once when a run starts, and once whenever a command loads a bundle, then with the options that
    the bundle stores. ``forward`` is called at every training step, and in generation for every new token unless the
    module provides a faster way (``kv_cache``, or a method ``reader``). Initial weights must come from torch's own
    generator, which the core seeds.

    Bad input: raise :class:`midigpt_core.errors.ConfigError` in the factory for options that contradict one another,
    such as a width that is not a multiple of the number of heads. Name the option and what to change. Any other
    exception of the factory is reported as a bug of your plugin. What ``forward`` raises ends the run with its
    traceback.
    """


@hookspec
def midigpt_optimizers() -> Iterable[OptimizerSpec]:  # type: ignore[empty-body]
    """Optimisers: how gradients change the weights.

    Write one for another method than AdamW or Muon. It is a plain ``torch.optim.Optimizer``. The schedule of the
    learning rate, gradient clipping, accumulation, fp16's loss scale, several devices and checkpoints are the core's.

    ::

        @hookimpl
        def midigpt_optimizers():
            return [OptimizerSpec(name="lion", summary="steps of one size", target="acme.lion:build",
                                  provides={"fsdp"})]

    The factory takes ``(options, OptimizerContext)`` and returns a ``torch.optim.Optimizer`` over all of ``decayed``
    and ``undecayed`` of the :class:`midigpt_core.contracts.OptimizerContext`. One that can step parameters that are
    ``DTensor``, split over several devices, provides ``fsdp``; another one is refused with ``--strategy fsdp``.

    When it is called: the factory once on every rank when a run starts, with the model on its device, and before that
    with a model of fake tensors, with which it takes one step: so the core learns how much memory its state takes (the
    two moments of AdamW, if it cannot step fake tensors). Then ``step`` at every optimiser step, with gradients that
    are averaged over ranks and micro-batches, unscaled, clipped and finite. The schedule scales the ``lr`` of every
    group, from 0 to what the factory gave it; the first group's is logged. What the optimiser keeps between steps
    belongs in its ``state``, as tensors and plain values: a run that is continued gets it back by ``load_state_dict``
    and takes the same steps, to the last bit. Its other settings belong in the groups: where a run is continued with
    other options, those of the new settings hold.

    Bad input: raise :class:`midigpt_core.errors.ConfigError` in the factory for options that contradict one another,
    and for a model that it cannot step. Any other exception of the factory is reported as a bug of your plugin. What
    ``step`` raises ends the run with its traceback. A run that was begun with another optimiser is never continued with
    yours: the core refuses that, with one line that says how to start a new run from its weights.
    """


@hookspec
def midigpt_loggers() -> Iterable[LoggerSpec]:  # type: ignore[empty-body]
    """Loggers: where the metrics of a run go.

    Write one for another tracking service. It is a Lightning ``Logger``. Every run also writes ``metrics.jsonl``, with
    or without a logger. To log more to MLflow, extend the logger that comes with midigpt-core, as ``examples/mlflow``
    does.

    ::

        @hookimpl
        def midigpt_loggers():
            return [LoggerSpec(name="comet", summary="Comet", target="acme.comet:build")]

    The factory takes ``(options, LoggerContext)`` and returns a Lightning ``Logger`` or None. One with the method of
    :class:`midigpt_core.contracts.SampleLogger` is also given the samples of ``sample_steps``, and a
    :class:`midigpt_core.contracts.SampleAudioLogger` their sound.

    When it is called: the factory once on every rank when a run starts; ``continues`` says whether the run continues
    from a checkpoint. Then ``log_metrics`` every ``log_steps`` steps, and after every evaluation. Only the first rank
    should write: Lightning's ``rank_zero_only`` does that.

    Bad input: raise :class:`midigpt_core.errors.ConfigError` in the factory if an option is wrong, and
    :class:`midigpt_core.errors.PluginError` if a package or a key is missing; say how to get it. What a logger raises
    later ends the run, apart from ``log_sample``, whose errors become warnings. A service that cannot be reached should
    not end a run of days: fall back to a file.
    """


@hookspec
def midigpt_checkpoint_formats() -> Iterable[CheckpointFormatSpec]:  # type: ignore[empty-body]
    """Checkpoint formats: how a bundle (weights, encoder and provenance, what inference needs) is stored.

    Write one to read the models of another program, or to write models for one. The state of a run that is continued
    (``step*.ckpt``) is not stored in these formats.

    ::

        @hookimpl
        def midigpt_checkpoint_formats():
            return [CheckpointFormatSpec(name="npz", summary="NumPy archive", target="acme.npz:build",
                                         suffixes=(".npz",))]

    The factory takes ``(options, FormatContext)`` and returns a :class:`midigpt_core.contracts.CheckpointFormat`.

    When it is called: ``train`` writes bundles with the chosen format, ``convert`` with the one that the file's suffix
    selects. A command that reads a bundle looks for a format that recognises it and tries the formats of the file's
    suffix first. Commands that need no weights use only ``read_header``, so give a reader without torch in ``headers``
    if you can: those commands then start in a fraction of the time.

    Bad input: every file is hostile. Check sizes before you take memory for them, run no code from a file, and raise
    :class:`midigpt_core.errors.CheckpointError` with one sentence that names the file and what is wrong with it. The
    command prints it without a traceback and exits with code 2. A format that cannot be read without running code is
    marked ``unsafe`` and is used only with ``allow_unsafe``.
    """


@hookspec
def midigpt_metrics() -> Iterable[MetricSpec]:  # type: ignore[empty-body]
    """Metrics: figures of the music that a model generates.

    Write one for a question that a musician asks of a model. The core draws excerpts of pieces that the model never
    saw, has the model generate some of their bars, and gives the metric all excerpts at once, as columns, generated and
    as they were.

    ::

        @hookimpl
        def midigpt_metrics():
            return [MetricSpec(name="swing", summary="how late offbeats come", target="acme.swing:build")]

    The factory takes ``(options, MetricContext)`` and returns a :class:`midigpt_core.contracts.Metric`.

    When it is called: by ``midigpt evaluate --music``, and during a training run with the setting ``music``, then on
    the first rank only. The metric is built and called once for each measurement. Every metric of every active plugin
    is measured unless the user names some with ``--metric``. In a training run its figures reach the loggers as
    ``music/NAME`` and ``music/NAME/PART``.

    Bad input: a metric gets what a model generated, which may be silence: give a :class:`~midigpt_core.records.Figure`
    whose value is None where there is nothing to measure, never NaN. Raise :class:`midigpt_core.errors.ConfigError` in
    the factory for options that contradict one another. The core checks every answer: a wrong type, NaN, or a share
    outside 0 to 1 ends ``evaluate`` with an error that names your metric; a training run goes on with a warning.
    """


@hookspec
def midigpt_attributes() -> Iterable[AttributeSpec]:  # type: ignore[empty-body]
    """Attribute controls: properties of tracks and bars that a user can ask for.

    Write one for a property that you can measure and want to control: how syncopated a bar is, how far a melody leaps.
    The level that the music has is written before it as a token, so a model learns what music of each level is like,
    and later writes the level that was asked for.

    ::

        @hookimpl
        def midigpt_attributes():
            return [AttributeSpec(name="leaps", summary="how far the melody leaps", target="acme.leaps:levels",
                                  level="track", levels=8, track_type="melodic")]

    The function takes the notes of some hundred windows at once, a
    :class:`midigpt_core.score.window_notes.WindowNotes`, and returns their levels as one array, see
    :class:`midigpt_core.contracts.AttributeFunction`. Write it with NumPy over whole arrays; ``per_bar``,
    ``per_track``, ``bar_histogram`` and :func:`midigpt_core.score.window_notes.levels` do the usual sums and steps. The
    record's ``target`` names this function, not a factory.

    When it is called: in training once for each batch, in every data worker, so its speed limits the speed of training.
    Then where levels of music are needed: by ``generate``, the servers and the studio for the music around the bars
    that are written and to say which level was reached, and by ``evaluate``. It is called only for encoders whose
    configuration names the attribute.

    Bad input: there is none from users. A track or bar without notes is common: give -1 where there is nothing to
    measure. The core checks every answer: a wrong type, a wrong shape or a level that does not exist ends the run with
    an error that names your attribute, the piece and its bars.
    """


@hookspec
def midigpt_adapters() -> Iterable[AdapterSpec]:  # type: ignore[empty-body]
    """Adapters: a few weights that are trained in place of those of a model.

    Write one for another method than LoRA. An adapter adds small weights to the linear layers of a trained model, the
    base, whose own weights stay as they are. From the adapter's weights and the base's follow new values of some of the
    base's weights: so a run's bundle is an ordinary model, and the adapter is stored next to it in a small file.

    ::

        @hookimpl
        def midigpt_adapters():
            return [AdapterSpec(name="gains", summary="a factor for each output", target="acme.gains:build",
                                merge="acme.gains:merge")]

    The factory takes ``(options, AdapterContext)`` and returns an :class:`midigpt_core.contracts.Adapter`, or None for
    no adapter. The function that ``merge`` names is an :class:`midigpt_core.contracts.AdapterMerge`; its module should
    import no more than torch.

    When it is called: the factory on every rank when a run starts, with the base on the CPU and all of its weights
    frozen, and before that with a model of fake tensors, from which the core learns how much memory the run needs. It
    changes the model in place: it replaces layers, or sets ``weight`` through ``torch.nn.utils.parametrize``. Weights
    that it adds to the transformer blocks are trained by the run's optimiser. ``state_dict`` is called when the run
    saves. ``merge`` is called then too, and wherever an adapter's file is used: by ``midigpt adapters``,
    ``midigpt generate --adapter`` and the server. New weights are drawn from torch's own generator, which the core
    seeds; so are the numbers of a dropout layer, at every step.

    Bad input: raise :class:`midigpt_core.errors.ConfigError` in the factory for options that contradict one another or
    match no layer; name what there is. Any other exception of the factory is reported as a bug of your plugin. The core
    checks what ``merge`` returns: a weight that the base does not have, another shape, or a value that is not finite
    ends the command with an error that names your adapter.
    """


@hookspec
def midigpt_callbacks(run: RunContext) -> Iterable[Callback]:  # type: ignore[empty-body]
    """Callbacks: your code at every step of a training run.

    Write one to watch a run or to act on it: an alarm, a probe of the weights, another criterion to stop. It is a
    Lightning ``Callback``. This is the only hook that gets the run itself, and the only one whose components are not
    chosen by name: while the plugin is active, its callbacks take part in every run.

    ::

        @hookimpl
        def midigpt_callbacks(run):
            from acme.callbacks import Bell
            return [Bell(run.run_dir)]

    The hook itself takes a :class:`midigpt_core.contracts.RunContext` and returns Lightning callbacks. Import them
    inside the function: the module is read long before training, and Lightning takes seconds to import.

    When it is called: once on every rank, before the first step. Lightning then calls the callbacks at every step.

    Bad input: there is none from users. What the hook raises is reported as a bug of your plugin, with its name; what a
    callback raises ends the run with its traceback. A callback that draws from a global generator, or changes weights,
    changes the run: it then no longer equals a run without your plugin.
    """
