"""Did the run of ``make run`` learn, and does what it fills in fit?

It prints the mean loss of the last tenth of its steps beside the first tenth's, and the share of filled melody notes
outside the range that the track has elsewhere (``register.py``) beside that of the bars which stood there.

    python docs/demo/check.py RUN_DIR
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean, median

from register import TRACKS, Register, filled_and_true

from midigpt_core.inference import InferenceEngine

#: A model that only learns which tokens are frequent ends near 0.75.
REQUIRED_RATIO = 0.7
#: Of the notes that are filled in, in the median piece. A model that does not look around the bar has about 0.8.
MOST_OUTSIDE = 0.1


def learned(run: Path) -> bool:
    """Whether the loss came down; says so."""
    records = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    losses = [record["loss"] for record in records if "loss" in record]
    tenth = max(len(losses) // 10, 1)
    first, last = fmean(losses[:tenth]), fmean(losses[-tenth:])
    down = last <= REQUIRED_RATIO * first
    verdict = "learned" if down else f"did not learn (more than {REQUIRED_RATIO} of it)"
    print(f"{len(losses)} steps: mean loss {first:.2f} in the first tenth, {last:.2f} in the last: {verdict}")
    return down


def fits(bundle: Path) -> bool:
    """Whether filled melodies keep to their tracks' register; says so."""
    by_piece, before = filled_and_true(InferenceEngine.from_checkpoint(bundle, "cpu"), TRACKS["melody"], seed=1)
    filled, true = sum(by_piece, Register()), sum(before, Register())
    middle = median(piece.share for piece in by_piece)
    within = middle <= MOST_OUTSIDE
    verdict = "they fit" if within else f"they do not fit (more than {MOST_OUTSIDE:.0%})"
    print(
        f"{filled.notes} notes filled into {len(by_piece)} melodies: {filled.share:.1%} outside the track's range "
        f"elsewhere, {true.share:.1%} of the notes that stood there; {middle:.1%} in the median piece: {verdict}"
    )
    return within


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    run: Path = parser.parse_args().run
    bundle = run / "model_final.pt"
    good = [learned(run), fits(bundle)]
    print(f"The bundle is {bundle}")
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(main())
