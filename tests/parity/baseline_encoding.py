"""What the public package midigpt 0.4.2 makes of configurations and MIDI files; run by its own interpreter.

``baseline_encoding.py JOB``: JOB is a JSON file with ``cases``; its ``answers`` names the file that the answers go to.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from midigpt import Score
from midigpt._core import EncoderConfig
from midigpt.tokenizer import Tokenizer


def answer(config: dict, files: list[str]) -> dict:
    """The tokens of each file and the score that they decode to, null where the file is refused."""
    try:
        tokenizer = Tokenizer(EncoderConfig.from_json(json.dumps(config)))
    except Exception as error:  # noqa: BLE001  whatever it says is the answer
        return {"refused": f"{type(error).__name__}: {error}"}
    tokens, decoded = [], []
    for file in files:
        try:
            tokens.append(tokenizer.encode(Score.from_midi(file)))
        except Exception:  # noqa: BLE001
            tokens.append(None)
        decoded.append(tokens[-1] and tokenizer.decode(tokens[-1]).to_dict())
    return {"tokens": tokens, "decoded": decoded, "vocab_size": tokenizer.vocab_size()}


def main(job_file: str) -> None:
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    answers = [answer(**case) for case in job["cases"]]
    Path(job["answers"]).write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
