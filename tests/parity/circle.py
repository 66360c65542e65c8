"""One bundle from a legacy directory around all formats and back: ``make parity`` prints the table.

Of each file its bytes, their sha256, and whether its weights are those of the start, bit for bit. Equal formats must
have equal hashes.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import torch

from midigpt_core.checkpoint import convert, load_checkpoint
from midigpt_core.cli.tables import table
from tests.support.legacy import Traceable, small_model, write

STEPS = ("1.pt", "2.safetensors", "3-folder", "4.pt", "5-folder", "6.safetensors", "7.pt")


def digest(path: Path) -> tuple[int, str]:
    """Bytes and sha256 of a file, or of a folder's files in the order of their names."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    content = b"".join(file.read_bytes() for file in files)
    return len(content), hashlib.sha256(content).hexdigest()


def main() -> int:
    model = small_model()
    expected = model.state_dict()
    rows, hashes, passed = [], {}, True
    with tempfile.TemporaryDirectory() as temporary:
        at = write(Path(temporary) / "0-legacy", Traceable(model))
        for name in (at.name, *STEPS):
            if name != at.name:
                at = convert(at, Path(temporary) / name)
            state = load_checkpoint(at).state_dict
            same = state.keys() == expected.keys() and all(
                torch.equal(state[key], tensor) for key, tensor in expected.items()
            )
            size, sha = digest(at)
            kind = at.suffix or at.name.partition("-")[2]
            again = hashes.setdefault(kind, sha) == sha
            passed &= same and again
            rows.append((name, size, sha[:16], "equal" if same else "DIFFER", "equal" if again else "DIFFER"))
    print(table(("bundle", "bytes", "sha256", "weights and the start's", "bytes and the first's of its format"), rows))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
