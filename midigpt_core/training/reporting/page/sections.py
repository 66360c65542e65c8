"""The sections of the page that are tables: key facts, evaluation, data, configuration and provenance."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from midigpt_core.score.reading import READ_ERRORS
from midigpt_core.training.reporting.page.tables import flat, pairs, table, text
from midigpt_core.training.reporting.run_charts import column, evaluation_records, step_records, tokens_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from midigpt_core.training.reporting.page.run_files import RunFiles

#: The most evaluations in a table, evenly spread.
_MOST_EVALUATIONS = 24
#: What is kept has no reason.
_KEPT = ("kept", "valid")
_OUTCOMES = ("outcome", "count", "share", "reason", "examples")
_MEANINGS = {info.name: info.meaning for info in READ_ERRORS.values()}
_LOSS, _PART, _MUSIC = "eval_loss", "eval_loss/", "music/"


def facts(run: RunFiles) -> str:
    """The figures at the top of the page."""
    steps, evaluations = step_records(run.metrics), evaluation_records(run.metrics)
    cards: list[tuple[str, str, str]] = []
    if steps:
        seconds = float(np.nansum(column(steps, "seconds")))
        loss = column(steps, "loss")
        cards.append(("tokens", tokens_text(steps), f"in {_duration(seconds)} of training"))
        finite = loss[np.isfinite(loss)]
        if len(finite):
            last = finite[-max(1, len(finite) // 40) :]
            cards.append(
                (
                    "training loss",
                    f"{last.mean():.3f}",
                    f"mean of the last {len(last):,} steps" if len(last) > 1 else "of the last step",
                )
            )
    losses = column(evaluations, _LOSS)
    if np.isfinite(losses).any():
        best = int(np.nanargmin(losses))
        cards.append(("evaluation loss", f"{losses[best]:.3f}", f"the lowest, at step {evaluations[best]['step']:,}"))
    shape = _architecture(run)
    if shape:
        cards.append(shape)
    pieces = run.corpus.get("train")
    if isinstance(pieces, dict) and isinstance(pieces.get("pieces"), int):
        cards.append(("training pieces", f"{pieces['pieces']:,}", "that windows are drawn from"))
    if run.written is not None and run.state != "finished":
        written = datetime.fromtimestamp(run.written, UTC)
        cards.append(("last written", f"{written:%H:%M} UTC", f"{written:%Y-%m-%d}"))
    return "".join(
        ["<div class=facts>"]
        + [
            f"<div><span>{escape(name)}</span><strong>{text(value)}</strong><small>{text(remark)}</small></div>"
            for name, value, remark in cards
        ]
        + ["</div>"]
    )


def _architecture(run: RunFiles) -> tuple[str, str, str] | None:
    choice = run.setting("architecture")
    if isinstance(choice, str):
        choice = {"name": choice}
    if not isinstance(choice, dict) or not isinstance(choice.get("name"), str):
        return None
    sizes = {name: choice.get(name, run.setting(name)) for name in ("n_embd", "n_layer", "n_head")}
    shape = "/".join(str(size) for size in sizes.values() if isinstance(size, int))
    return "architecture", choice["name"], f"width/blocks/heads {shape}" if shape else ""


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def evaluation(run: RunFiles) -> str:
    """Losses by evaluation, and the figures of generated music."""
    parts = []
    losses = evaluation_records(run.metrics)
    if losses:
        values = column(losses, _LOSS)
        best = int(np.nanargmin(values)) if np.isfinite(values).any() else -1
        shown = _spread(len(losses), best)
        names = list(dict.fromkeys(name for record in losses for name in record if name.startswith(_PART)))[:16]
        header = ["step", "loss", *(name.removeprefix(_PART).replace("_", " ") for name in names)]
        rows = [
            [losses[place]["step"], *(_rounded(losses[place].get(name)) for name in (_LOSS, *names))] for place in shown
        ]
        classes = ["best" if place == best else "" for place in shown]
        parts.append("<h3>Loss, nats per token</h3>")
        parts.append(table(header, rows, numeric=range(len(header)), classes=classes))
        parts.append('<p class="note">The marked row has the lowest loss.</p>' if best >= 0 else "")
    music = [record for record in run.metrics if any(name.startswith(_MUSIC) for name in record)]
    if music:
        shown = _spread(len(music), -1, most=6)
        names = sorted({name for record in music for name in record if name.startswith(_MUSIC)})
        header = ["figure", *(f"step {music[place]['step']:,}" for place in shown)]
        rows = [[name.removeprefix(_MUSIC), *(_rounded(music[place].get(name)) for place in shown)] for name in names]
        parts.append("<h3>Generated music</h3>")
        parts.append(table(header, rows, numeric=range(1, len(header))))
    if not parts:
        return '<p class="note">This run has not been evaluated.</p>'
    return "".join(parts)


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _spread(count: int, always: int, most: int = _MOST_EVALUATIONS) -> list[int]:
    """At most ``most`` of ``count`` places, evenly spread, with the first, the last and ``always``."""
    places = set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist())
    return sorted(places | ({always} if always >= 0 else set()))


def data(run: RunFiles) -> str:
    """What the run was trained and evaluated on, and why rows were left out."""
    named = [("Training", run.corpus.get("train"))]
    sets = run.corpus.get("train_sets")
    named += [
        (f"Training set {one.get('name')}", one.get("pieces") if isinstance(one.get("pieces"), dict) else one)
        for one in (sets if isinstance(sets, list) else [])[:50]
        if isinstance(one, dict)
    ]
    named.append(("Evaluation", run.corpus.get("eval")))
    parts = [_corpus(title, corpus) for title, corpus in named if isinstance(corpus, dict)]
    return "".join(parts) or '<p class="note">The run has no description of its data.</p>'


def _corpus(title: str, corpus: Mapping[str, Any]) -> str:
    shards = corpus.get("shards")
    known: list[tuple[str, Any]] = [
        ("pieces that windows are drawn from", corpus.get("pieces")),
        ("shards", len(shards) if isinstance(shards, list) else None),
        ("fingerprint", corpus.get("fingerprint")),
    ]
    sets = corpus.get("data_sets")
    if isinstance(sets, list):
        known += [("data set", one) for one in sets[:20]]
    examples = corpus.get("examples")
    parts = [f"<h3>{text(title)}</h3>", pairs((name, value) for name, value in known if value is not None)]
    for what, counts in (("Rows of the source", corpus.get("rows")), ("Pieces by choice", corpus.get("selection"))):
        if isinstance(counts, dict) and counts:
            rows = list(_reasons(counts, examples if isinstance(examples, dict) else {}))
            filled = [place for place in range(len(_OUTCOMES)) if any(row[place] for row in rows)]
            header = [_OUTCOMES[place] for place in filled]
            shown = [[row[place] for place in filled] for row in rows]
            parts.append(f"<h4>{what}</h4>{table(header, shown, numeric=(1, 2))}")
    return "".join(parts)


def _reasons(counts: Mapping[str, Any], examples: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    """A row for each outcome, what was kept first, then by count."""
    known = {name: count for name, count in counts.items() if type(count) is int}
    total = sum(known.values())
    for name, count in sorted(known.items(), key=lambda item: (item[0] not in _KEPT, -item[1], item[0])):
        some = examples.get(name)
        named = ", ".join(str(one) for one in some[:3]) if isinstance(some, list) else ""
        share = f"{count / total:.1%}" if total > 0 else "–"
        yield name.replace("_", " "), count, share, _MEANINGS.get(name, ""), named


def configuration(run: RunFiles) -> str:
    """Every setting with its value and where that came from; those that were set first."""
    rows: list[tuple[str, Any, Any]] = []
    for name, entry in run.settings.items():
        known = entry if isinstance(entry, dict) else {"value": entry}
        rows.append((name, known.get("value"), known.get("origin")))
    if not rows:
        return '<p class="note">The run has no description of its settings.</p>'
    header = ("setting", "value", "origin")
    chosen = [row for row in rows if row[2] != "default"]
    defaults = [row for row in rows if row[2] == "default"]
    parts = [table(header, chosen) if chosen else '<p class="note">Nothing was set.</p>']
    if defaults:
        parts.append(f"<details><summary>{len(defaults)} defaults</summary>{table(header, defaults)}</details>")
    return "".join(parts)


def provenance(run: RunFiles) -> str:
    """Versions, components and fingerprints, the machine, and the bundles."""
    parts = []
    components = run.provenance.get("components")
    if isinstance(components, dict) and components:
        columns = ("name", "plugin", "distribution", "version", "options_sha256")
        rows = [
            (kind, *(one.get(name) for name in columns)) for kind, one in components.items() if isinstance(one, dict)
        ]
        parts.append("<h3>Components</h3>" + table(("kind", *columns[:-1], "hash of its options"), rows))
    rest = {name: value for name, value in run.provenance.items() if name not in ("components", "stream", "steps")}
    if rest:
        parts.append("<h3>Versions and fingerprints</h3>" + pairs(flat(rest)))
    stream = run.provenance.get("stream")
    if isinstance(stream, dict) and stream:
        parts.append(f"<details><summary>How windows are drawn</summary>{pairs(flat(stream))}</details>")
    if run.environment:
        parts.append("<h3>Machine</h3>" + pairs(flat(run.environment)))
    if run.bundles:
        rows = [(name, f"{size / 1e6:,.1f} MB") for name, size in run.bundles]
        parts.append("<h3>Bundles</h3>" + table(("file", "size"), rows, numeric=(1,)))
    return "".join(parts) or '<p class="note">The run has no record of its origin.</p>'
