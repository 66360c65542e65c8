"""Each stage at 1, 10 and 100 times the corpus: measures it, and draws ``bench/plots/growth.png``.

python -m bench.growth           # measures, writes results/growth.json, draws
python -m bench.growth --draw    # draws results/growth.json again

A stage that keeps its pace is a flat line. Preprocessing gains: what a run costs whatever its size weighs less.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from bench import corpus
from bench.built import PRESET, ready
from bench.encoding import encoding
from bench.machine import describe, summary, today
from bench.measure import one_thread, take_turns, wall
from bench.preprocess import preprocess
from bench.reading import read
from bench.rows import format_number
from bench.session import Session
from bench.start import start
from bench.stream import PRESET as STREAM_PRESET
from bench.stream import windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bench.measure import Turn

RESULTS = Path(__file__).parent / "results" / "growth.json"
PLOT = Path(__file__).parent / "plots" / "growth.png"
SIZES = (400, 4_000, 40_000)
_SHARDS = 2
#: Of the plot's axis, in paces of the smallest corpus.
_TICKS = (0.25, 0.5, 1, 2, 5, 10, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3, help="counted turns of each stage at each size (3)")
    parser.add_argument("--folder", type=Path, default=corpus.FOLDER, help="where the bench's data is kept")
    parser.add_argument("--draw", action="store_true", help="measure nothing, draw the last figures")
    options = parser.parse_args()
    if not options.draw:
        session = Session(repeats=options.repeats, folder=options.folder, baseline_python=None)
        machine, figures = describe(), measure(session, SIZES)
        measured = {"measured": f"{today()}, {summary(machine)}", "rows": SIZES, "figures": figures}
        RESULTS.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    draw(json.loads(RESULTS.read_text(encoding="utf-8")), PLOT)


def measure(session: Session, sizes: Sequence[int]) -> dict[str, list[float]]:
    """Stage -> work per second at each size. The sizes of a stage take turns."""
    by_size = [dict(_stages(session, size)) for size in sizes]
    figures = {}
    for stage in by_size[0]:
        turns = take_turns({str(size): made[stage] for size, made in zip(sizes, by_size, strict=True)}, session.repeats)
        figures[stage] = [float(f"{turns[str(size)].median:.4g}") for size in sizes]
        print(f"{stage}: {figures[stage]}", flush=True)
    return figures


def _stages(session: Session, size: int) -> Iterator[tuple[str, Callable[[], Turn]]]:
    shards = corpus.shards("growth", size, _SHARDS, folder=session.folder)
    files = [corpus.buffers(corpus.read(path)) for path in shards]
    yield "reading, bytes/s", one_thread(lambda: sum(read(data, offsets, 1) for data, offsets in files))
    yield "preprocessing, rows/s", preprocess(session, shards, size)
    yield "starting, starts/s", wall(lambda: start(shards, session.folder))
    yield "encoding, tokens/s", one_thread(encoding(ready(shards, session.folder, PRESET), 1))
    data = ready(shards, session.folder, STREAM_PRESET)
    yield "token stream, windows/s", one_thread(windows(data.stream_spec()))


def draw(measured: Mapping[str, Any], path: Path) -> None:
    """Each stage's pace compared with its own at the smallest size, over the size of the corpus."""
    figure = Figure(figsize=(8, 4.8), dpi=120, layout="constrained")
    axes = figure.subplots()
    for (stage, values), marker in zip(measured["figures"].items(), "osD^v", strict=True):
        name, _, unit = stage.partition(", ")
        label = f"{name}: {format_number(values[0])} → {format_number(values[-1])} {unit}"
        axes.plot(measured["rows"], [value / values[0] for value in values], marker=marker, label=label)
    axes.axhline(1, color="grey", linewidth=0.8, linestyle=":", zorder=0)
    axes.set_xscale("log")
    axes.set_xticks(measured["rows"], [f"{rows:,}" for rows in measured["rows"]])
    axes.set_yscale("log")
    axes.set_ylim(min(_TICKS), max(_TICKS))
    axes.set_yticks(_TICKS, [f"{tick:g}×" for tick in _TICKS])
    axes.minorticks_off()
    axes.set_xlabel("rows of the corpus")
    axes.set_ylabel("pace compared with that at the smallest corpus")
    axes.set_title("Each stage at 1, 10 and 100 times the corpus", loc="left")
    axes.legend(frameon=False, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(f"Measured {measured['measured']}.", fontsize=7, color="grey", x=0.99, ha="right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


if __name__ == "__main__":
    main()
