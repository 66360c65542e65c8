"""The README's tree names every source file."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_tree_names_every_source_file() -> None:
    tree = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The tree")[2]
    words = set(tree.split())
    named_with_header = {line.split()[0] for line in tree.splitlines() if ".h .cpp" in line}
    files = [
        path
        for folder, patterns in {
            "midigpt_core": ("*.py",),
            "plugins": ("*.py",),
            "bench": ("*.py",),
            "csrc": ("*.h", "*.cpp"),
        }.items()
        for pattern in patterns
        for path in (ROOT / folder).rglob(pattern)
        if path.name != "__init__.py" and "templates" not in path.parts
    ]
    assert len(files) > 150
    missing = [
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.name not in words and f"{path.stem}.h" not in named_with_header
    ]
    assert missing == []
