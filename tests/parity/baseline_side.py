"""What the public package midigpt 0.4.2 makes of bundles and clips; run by its own interpreter, as a black box.

``baseline_side.py JOB``: JOB is a JSON file; its ``answers`` names the file that the answers go to.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from midigpt import Score
from midigpt.inference.model.gpt2 import GPT2LMHeadModel
from midigpt.tokenizer import Tokenizer, load_checkpoint


def read(bundle: str, clips: list[str], resaved: str) -> dict:
    """Tokens of the clips, logits of their tokens, the bundle written again by the package's own writer."""
    model = GPT2LMHeadModel.from_pretrained(bundle)
    tokenizer = Tokenizer.from_checkpoint(bundle)
    config = json.loads(load_checkpoint(bundle).encoder_config.to_json())
    tokens = [tokenizer.encode(Score.from_midi(clip)) for clip in clips]
    with torch.no_grad():
        logits = [model(torch.tensor([sequence]))[0][0].tolist() for sequence in tokens]
    model.save_pretrained(resaved, encoder_config=config)
    return {"tokens": tokens, "logits": logits, "encoder_config": config}


def attempt(bundle: str, clips: list[str], resaved: str) -> dict:
    try:
        return read(bundle, clips, resaved)
    except Exception as error:  # noqa: BLE001  whatever it says is the answer
        return {"refused": f"{type(error).__name__}: {error}"}


def main(job_file: str) -> None:
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    answers = [attempt(**bundle) for bundle in job["bundles"]]
    Path(job["answers"]).write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
