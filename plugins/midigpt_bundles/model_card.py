"""The model card of a Hugging Face folder, written from provenance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import yaml
from huggingface_hub.repocard_data import EvalResult, eval_results_to_model_index

from midigpt_core.checkpoint.assemble import infill_positions
from midigpt_core.checkpoint.copy_rates import copy_rates
from midigpt_core.checkpoint.layouts import LAYOUTS
from midigpt_core.checkpoint.plain import mapping_or_empty
from midigpt_core.checkpoint.provenance import data_sources
from midigpt_core.records import PLACEHOLDER, SEQUENCE
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from midigpt_core.contracts import Bundle

_GIGAMIDI = (
    "The weights were trained on data in GigaMIDI's layout. GigaMIDI is licensed CC BY-NC 4.0 and gated: the weights "
    "inherit its restriction to non-commercial use, and its terms of access. If the data was something else in the "
    "same layout, state its licence here instead."
)
_OTHERS = (
    "The licence of the data that came through {} is not known to this card. Before sharing the weights, find it out "
    "and state it here."
)


#: By how the bundle says that filled bars are numbered.
_POSITIONS = {
    SEQUENCE: "Positions (`infill_positions`): `sequence`. A token's position is its place in the document.",
    PLACEHOLDER: (
        "Positions (`infill_positions`): `placeholder`. Outside fill blocks, a token's position is its place in the "
        "document. FillInStart of the nth block takes the position of the nth FillInPlaceholder, and the tokens up to "
        "its FillInEnd count on from there. midigpt-core does so; the public package midigpt counts on, so there the "
        "model continues music but does not fill in bars. With transformers, give `position_ids`, and an "
        "`attention_mask` of ones, without which positions that do not ascend are taken for packed sequences."
    ),
}


def model_card(bundle: Bundle, path: Path) -> str:
    """Markdown with the front matter that the Hub reads, for a folder at ``path``."""
    return "\n".join(_lines(bundle, path)) + "\n"


def _lines(bundle: Bundle, path: Path) -> Iterator[str]:
    components = mapping_or_empty(bundle.provenance.get("components"))
    sources = data_sources(bundle.provenance)
    of_gigamidi = "gigamidi" in sources
    base = mapping_or_empty(bundle.provenance.get("base"))
    others = [_cell(name) for name in sources if name != "gigamidi"]
    config = bundle.architecture_config
    layout = LAYOUTS[bundle.architecture]
    parameters = layout.parameter_count(config, path)
    yield "---"
    yield "library_name: transformers"
    yield "pipeline_tag: text-generation"
    yield f"tags: [midi, music, symbolic-music, {bundle.architecture}]"
    if of_gigamidi:
        yield "license: cc-by-nc-4.0"
    if results := _results(bundle):
        yield yaml.safe_dump({"model-index": results}, sort_keys=False, allow_unicode=True).rstrip()
    yield "---"
    yield ""
    yield "# A MIDI-GPT model"
    yield ""
    yield (
        f"{layout.title} with {parameters:,} parameters ({config['n_layer']} layers, {config['n_head']} heads, width "
        f"{config['n_embd']}) over {config['vocab_size']} tokens of multitrack MIDI, {config['n_positions']} tokens at "
        "most. Its tokens are not text: `encoder.json` says how music becomes tokens."
    )
    yield ""
    yield _POSITIONS[infill_positions(bundle)]
    yield ""
    yield "## Licence and data"
    yield ""
    if of_gigamidi:
        yield _GIGAMIDI
    if base:
        licence = base.get("licence")
        stated = f"its licence, {_cell(licence)}, applies" if licence else "its licence, which is not stated, applies"
        yield f"The weights were trained from {_cell(base.get('name', 'another model'))}: {stated} to them too."
    if others:
        yield _OTHERS.format(", ".join(others))
    yield ""
    yield "## Provenance"
    yield ""
    yield "| | |"
    yield "|---|---|"
    if base:
        digits = str(base.get("weights", ""))[:12]
        yield f"| trained from | {_cell(base.get('name', 'unknown'))} (weights {_cell(digits)}) |"
    yield f"| data | {', '.join(_cell(name) for name in sources)} |"
    yield f"| encoder | {_cell(bundle.encoder)} |"
    for name, value in bundle.provenance.items():
        if not isinstance(value, dict | list):
            yield f"| {_cell(name)} | {_cell(value)} |"
    for kind, component in components.items():
        made_of = mapping_or_empty(component)
        parts = [made_of.get(part, "") for part in ("name", "distribution", "version")]
        yield f"| {_cell(kind)} | {_cell(' '.join(str(part) for part in parts if part))} |"
    yield from _measured(bundle)


def _measured(bundle: Bundle) -> Iterator[str]:
    """Rows of what was measured, and a section on how much the model copies, if that was measured."""
    for name, value in mapping_or_empty(bundle.provenance.get("metrics")).items():
        yield f"| {_cell(name)} | {_cell(value)} |"
    rates = list(copy_rates(bundle.provenance))
    if not rates:
        return
    yield ""
    yield "## Copies"
    yield ""
    yield (
        "Share of the generated bars of at least four notes that are in the music that the model was trained on, "
        "exactly or transposed:"
    )
    yield ""
    yield "| generated in | copies |"
    yield "|---|---|"
    for where, rate in rates:
        yield f"| {_cell(where)} | {_cell(rate)} |"


def _results(bundle: Bundle) -> list[dict[str, Any]]:
    """The bundle's metrics in the form that the Hub reads; empty without any. The bundle is untrusted."""
    metrics = mapping_or_empty(bundle.provenance.get("metrics"))
    results = [
        EvalResult(
            task_type="text-generation",
            task_name="Symbolic music generation",
            dataset_type="midi",
            dataset_name="Evaluation data of the training run",
            metric_type=printable(name, 60),
            metric_value=value,
        )
        for name, value in metrics.items()
        if type(value) in (int, float) and math.isfinite(value)
    ]
    return eval_results_to_model_index("MIDI-GPT", results) if results else []


def _cell(value: object) -> str:
    """Text for a table cell that can neither leave the cell nor become a link, an image or HTML."""
    text = printable(value)
    return "".join(f"\\{character}" if character in "\\|[]<>!`*_#&" else character for character in text)
