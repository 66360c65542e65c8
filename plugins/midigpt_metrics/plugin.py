"""What this plugin provides; imports nothing heavy."""

from __future__ import annotations

from midigpt_core import hookimpl
from midigpt_core.components import MetricSpec

MIDIGPT_API = 1

#: Name, summary and factory; metrics with an option ``grid`` also the options class.
_METRICS = (
    ("control", "whether the levels of attribute controls that were requested are reached", "control:build", ""),
    ("pitch_classes", "overlap of the pitch classes with the true bars'; entropy", "histograms:pitch_classes", ""),
    ("onset_positions", "overlap of the onsets' places in the bar with the true bars'", "histograms:onsets", "Grid"),
    ("note_density", "notes per bar", "notes:density", ""),
    ("polyphony", "notes that sound at once", "polyphony:build", "Grid"),
    ("in_range", "share of the notes within the range of the track's other bars", "notes:in_range", ""),
    ("groove", "how alike the onsets of neighbouring bars are", "bar_pairs:groove", "Grid"),
    ("self_similarity", "how much bars share with the bars before them", "bar_pairs:self_similarity", "Grid"),
    ("copy_rate", "share of the bars that are in the training corpus, exactly or transposed", "copies:build", ""),
)


@hookimpl
def midigpt_metrics() -> list[MetricSpec]:
    return [
        MetricSpec(
            name=name,
            summary=summary,
            target=f"midigpt_metrics.{factory}",
            options=f"midigpt_metrics.options:{options}" if options else None,
        )
        for name, summary, factory, options in _METRICS
    ]
