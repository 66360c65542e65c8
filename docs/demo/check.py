"""Did the run of ``make run`` learn? Compares the mean loss of the last tenth of its steps with the first tenth's.

python docs/demo/check.py RUN_DIR
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean

#: A model that only learns which tokens are frequent ends near 0.75.
REQUIRED_RATIO = 0.7


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    run: Path = parser.parse_args().run
    records = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    losses = [record["loss"] for record in records if "loss" in record]
    tenth = max(len(losses) // 10, 1)
    first, last = fmean(losses[:tenth]), fmean(losses[-tenth:])
    learned = last <= REQUIRED_RATIO * first
    verdict = "learned" if learned else f"did not learn (more than {REQUIRED_RATIO} of it)"
    print(f"{len(losses)} steps: mean loss {first:.2f} in the first tenth, {last:.2f} in the last: {verdict}")
    print(f"The bundle is {run / 'model_final.pt'}")
    return 0 if learned else 1


if __name__ == "__main__":
    raise SystemExit(main())
