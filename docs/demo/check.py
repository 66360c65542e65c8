"""Did the run of ``make run`` learn, and does what it fills in fit?

It prints the mean loss of the first and of the last tenth of its steps, and the loss of filled bars in the last
evaluation. Then it fills in melody bars, with eight seeds, and prints the share of all their notes outside the range
that the track has in its other bars (``register.py``), which is the measure, with that of the original bars and that of
the median piece. A model that fills in fewer than half as many notes as the original bars had fails: silence has no
note outside the range.

    python docs/demo/check.py RUN_DIR
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from register import TRACKS, Register, filled_and_true

from midigpt_core.inference import InferenceEngine

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A model that only learns which tokens are frequent ends near 0.75.
REQUIRED_RATIO = 0.7
#: Nats per token of filled bars in the last evaluation.
MOST_INFILL_LOSS = 0.75
#: Of all notes that are filled in, the share outside; about 0.8 if a model does not look around.
MOST_OUTSIDE = 0.1
#: Of sampling: one seed alone gives shares that lie up to 0.06 apart.
SEEDS = range(1, 9)
#: Notes that are filled in, of those in the original bars, all pieces together.
FEWEST_NOTES = 0.5


def learned(records: Sequence[dict[str, Any]]) -> bool:
    """Whether the loss came down; says so."""
    losses = [record["loss"] for record in records if "loss" in record]
    tenth = max(len(losses) // 10, 1)
    first, last = fmean(losses[:tenth]), fmean(losses[-tenth:])
    down = last <= REQUIRED_RATIO * first
    verdict = "learned" if down else f"did not learn (more than {REQUIRED_RATIO} of it)"
    print(f"{len(losses)} steps: mean loss {first:.2f} in the first tenth, {last:.2f} in the last: {verdict}")
    return down


def fills(records: Sequence[dict[str, Any]]) -> bool:
    """Whether the last evaluation's loss of filled bars is low enough; says so."""
    loss: float = [record for record in records if "eval_loss" in record][-1]["eval_loss/infill_target"]
    low = loss <= MOST_INFILL_LOSS
    verdict = "low enough" if low else f"too high (more than {MOST_INFILL_LOSS})"
    print(f"Loss of filled bars in the last evaluation: {loss:.3f}: {verdict}")
    return low


def fits(bundle: Path) -> bool:
    """Whether filled melodies keep to their tracks' register; says so."""
    engine = InferenceEngine.from_checkpoint(bundle, "cpu")
    pairs = [filled_and_true(engine, TRACKS["melody"], seed) for seed in SEEDS]
    return keeps(*([piece for side in sides for piece in side] for sides in zip(*pairs, strict=True)))


def keeps(by_piece: Sequence[Register], original: Sequence[Register]) -> bool:
    """Whether the notes filled in are enough, and enough of them within the range; says so."""
    filled, true = sum(by_piece, Register()), sum(original, Register())
    faults = []
    if filled.notes < FEWEST_NOTES * true.notes:
        faults.append(f"fewer than {FEWEST_NOTES:.0%} of the original notes")
    if filled.share > MOST_OUTSIDE:
        faults.append(f"more than {MOST_OUTSIDE:.0%} outside")
    verdict = f"they do not fit ({', '.join(faults)})" if faults else "they fit"
    print(
        f"{filled.notes} notes filled into {len(by_piece)} melodies that had {true.notes} there; outside the range of "
        f"the track's other bars: {filled.share:.1%} of all filled notes, {true.share:.1%} of the original ones "
        f"({median(piece.share for piece in by_piece):.1%} in the median piece): {verdict}"
    )
    return not faults


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    run: Path = parser.parse_args().run
    bundle = run / "model_final.pt"
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    good = [learned(records), fills(records), fits(bundle)]
    print(f"The bundle is {bundle}")
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(main())
