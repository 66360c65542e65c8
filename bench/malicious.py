"""The table of malicious files in docs/limits.md, compared with the baseline: python -m bench.malicious rewrites it.

Every file is read by ``Score.from_bytes`` of either package in a process of its own that has 4 GB of memory and 20 s of
processor time, in which the C allocator counts (tests/score/count_allocations.c). A process that dies or does not end
is a row like any other.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).resolve().parents[1]
_TESTS = _ROOT / "tests" / "score"
_PAGE = _ROOT / "docs" / "limits.md"
_BASELINE = _ROOT / ".venv-baseline" / "bin" / "python"
_BEGIN, _END = "<!-- begin: python -m bench.malicious -->\n", "<!-- end -->\n"
_MOST_BYTES = 4 << 30
_MOST_SECONDS = 20
_POLL_SECONDS = 0.1
_CUT = "the golden files cut off after every byte (0.4.2: every seventh)"
_HEADER = """\
| file | size | outcome | time | memory | 0.4.2: outcome | time | memory |
|---|---|---|---|---|---|---|---|
"""


@frozen
class Cell:
    """What became of one file in one package."""

    outcome: str
    time: str = ""
    memory: str = ""

    def __str__(self) -> str:
        return f"{self.outcome} | {self.time} | {self.memory}"


@frozen
class Contender:
    python: Path
    module: str
    #: Golden files are read cut off after every so many bytes.
    step: int


def main() -> None:
    """Raises SystemExit without a baseline."""
    if not _BASELINE.exists():
        raise SystemExit("the baseline is not here. Run `make baseline`.")
    library = _ROOT / "runs" / "bench" / "count_allocations.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    source = _TESTS / "count_allocations.c"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    contenders = [Contender(Path(sys.executable), "midigpt_core.score", 1), Contender(_BASELINE, "midigpt", 7)]
    rows = []
    for name, contents, refusal in _malicious():
        cells = [_worst([_run(who, content, library, cut=name == _CUT) for content in contents]) for who in contenders]
        if refusal != "none":
            cells[0] = Cell(f"`{refusal}`", cells[0].time, cells[0].memory)
        row = f"| {name} | {_size(sum(map(len, contents)))} | {cells[0]} | {cells[1]} |\n"
        print(row, end="", flush=True)
        rows.append(row)
    text = _PAGE.read_text(encoding="utf-8")
    before, after = text.split(_BEGIN)[0], text.split(_END)[1]
    _PAGE.write_text(f"{before}{_BEGIN}{_HEADER}{''.join(rows)}{_END}{after}", encoding="utf-8")


def _malicious() -> Iterator[tuple[str, list[bytes], str]]:
    """Name, files, and the reason under which ours refuses them."""
    malicious = import_module("tests.support.malicious_midi")
    midi = import_module("tests.support.midi_bytes").MidiBytes()
    for name, (make, refusal) in malicious.MALICIOUS.items():
        yield name, [make(midi)], refusal
    files = [path.read_bytes() for path in sorted((_TESTS.parent / "data" / "midi").glob("*.mid"))]
    yield _CUT, files, "none"


def _run(who: Contender, content: bytes, library: Path, *, cut: bool) -> dict[str, Any]:
    script = _ROOT / "bench" / "baseline" / "malicious.py"
    with tempfile.TemporaryFile() as stdin:
        stdin.write(content)
        stdin.seek(0)
        process = subprocess.Popen(
            [who.python, script, who.module, str(_MOST_BYTES), *([str(who.step)] if cut else [])],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LD_PRELOAD": str(library)},
        )
    while process.poll() is None:
        # Its answer is a line, which the pipe holds until it is read.
        time.sleep(_POLL_SECONDS)
        if not cut and _processor_seconds(process.pid) > _MOST_SECONDS:
            held = _resident(process.pid)
            process.kill()
            process.communicate()
            return {"endings": [f"no end in {_MOST_SECONDS} s"], "seconds": _MOST_SECONDS, "bytes": held}
    answer, _ = process.communicate()
    if process.returncode < 0:
        return {"endings": [f"**killed by {signal.Signals(-process.returncode).name}**"], "seconds": 0, "bytes": 0}
    if process.returncode > 0:
        raise SystemExit(f"{script.name} with {who.module} ended with code {process.returncode}.")
    answered: dict[str, Any] = json.loads(answer)
    return answered


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    user, system = fields[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    """The most memory that a process has had resident, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _worst(runs: list[dict[str, Any]]) -> Cell:
    outcome = " or ".join(sorted({ending for run in runs for ending in run["endings"]}))
    if "killed" in outcome:
        return Cell(outcome)
    return Cell(outcome, _time(max(run["seconds"] for run in runs)), _memory(max(run["bytes"] for run in runs)))


def _time(seconds: float) -> str:
    if seconds < 2e-4:
        return "< 0.2 ms"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _memory(held: int) -> str:
    return "< 1 MB" if held < 1e6 else f"{held / 1e6:,.1f} MB"


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


if __name__ == "__main__":
    main()
