"""Puts the page together: one file with its styles, its script and its data in it, which asks no network for anything.

The script and the styles are admitted by their hashes (``Content-Security-Policy``), so nothing else runs or loads,
whatever the files of the run contain. Texts from them are escaped in ``tables``, or are JSON that the script writes
into text nodes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

from midigpt_core import __version__
from midigpt_core.terminal import printable
from midigpt_core.training.reporting.page.curves import curve_values
from midigpt_core.training.reporting.page.run_files import read_run
from midigpt_core.training.reporting.page.samples import add_sound, chosen_steps, sample_values
from midigpt_core.training.reporting.page.sections import configuration, data, evaluation, facts, provenance
from midigpt_core.training.reporting.page.tables import text
from midigpt_core.training.reporting.run_charts import step_records

if TYPE_CHECKING:
    import os

    from midigpt_core.training.reporting.page.run_files import RunFiles

#: The largest page, in characters, that recorded sound is added to.
MOST_CHARACTERS = 4_500_000


def run_report(run: str | os.PathLike[str]) -> str:
    """The page on a run, which may still be training, as HTML.

    Raises :class:`midigpt_core.errors.DataError` if ``run`` is not the folder of a run.
    """
    found = read_run(run)
    problems = [*found.problems]
    charts = curve_values(found.metrics) if step_records(found.metrics) else []
    steps = chosen_steps(found.samples)
    samples = sample_values(steps, problems)
    if len(steps) < len(found.samples):
        problems.append(f"samples: {len(steps)} of {len(found.samples):,} steps are on this page, evenly spread.")
    room = MOST_CHARACTERS - len(_page(found, charts, samples, problems))
    left_out = add_sound(samples, steps, room)
    if left_out:
        problems.append(
            f"samples: {left_out} recordings are left out to keep this page small; the page plays their notes itself."
        )
    return _page(found, charts, samples, problems)


def _page(run: RunFiles, charts: list[dict[str, Any]], samples: list[dict[str, Any]], problems: list[str]) -> str:
    script, style = _asset("report.js"), _asset("report.css")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "media-src data:; base-uri 'none'; form-action 'none'"
    )
    made = datetime.fromtimestamp(run.read, UTC)
    sections = [
        ("Curves", _curves(charts)),
        ("Samples", _samples(samples)),
        ("Evaluation", evaluation(run)),
        ("Data", data(run)),
        ("Configuration", configuration(run)),
        ("Provenance", provenance(run)),
    ]
    links = "".join(f'<a href="#{title.lower()}">{title}</a>' for title, _ in sections)
    body = "".join(f'<section id="{title.lower()}"><h2>{title}</h2>{content}</section>' for title, content in sections)
    name = escape(printable(run.name, 80))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{name} – report</title><style>{style}</style></head><body>"
        f'<header><h1>{name}</h1><span class="state {run.state.replace(" ", "-")}">{_state(run)}</span>'
        '<button id="theme" type="button" hidden>Dark</button></header>'
        f"<nav>{links}</nav><main>{facts(run)}{_problems(problems)}{body}</main>"
        f"<footer>Made by midigpt-core {escape(__version__)} on {made:%Y-%m-%d %H:%M} UTC.</footer>"
        '<noscript><p class="note">Curves and samples need JavaScript.</p></noscript>'
        f'<script type="application/json" id="values">{_json({"charts": charts, "samples": samples})}</script>'
        f"<script>{script}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return resources.files("midigpt_core.training.reporting.page").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _json(values: Any) -> str:
    """JSON inside HTML: no ``<`` in it, so that no text can end the element."""
    return json.dumps(values, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")


def _state(run: RunFiles) -> str:
    if run.state == "finished":
        return f"finished, {run.steps:,} steps"
    of = f" of {run.planned:,}" if run.planned is not None else ""
    return f"{run.state}, step {run.steps:,}{of}"


def _problems(problems: list[str]) -> str:
    if not problems:
        return ""
    rows = "".join(f"<li>{text(problem)}</li>" for problem in problems[:20])
    more = f"<li>{len(problems) - 20:,} more</li>" if len(problems) > 20 else ""
    return f'<ul class="problems">{rows}{more}</ul>'


def _curves(charts: list[dict[str, Any]]) -> str:
    if not charts:
        return '<p class="note">No step has been taken yet.</p>'
    note = "Point at a chart, or select it and use the arrow keys, to read its values."
    return f'<p class="note">{note}</p><div id="charts"></div>'


def _samples(samples: list[dict[str, Any]]) -> str:
    if not samples:
        return (
            '<p class="note">This run has no samples. The setting <code>sample_steps</code> makes some, '
            "<code>sample_audio</code> records them.</p>"
        )
    return '<div id="samples"></div>'
