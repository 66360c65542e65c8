"""Write ``docs/map.md``: every source file with the sentence that its docstring, or its first comment, begins with.

python docs/map.py           # writes it
python docs/map.py --check   # exit code 1 if it is not what would be written
"""

from __future__ import annotations

import argparse
import ast
import re
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "map.md"
FOLDERS = ("midigpt_core", "plugins", "csrc", "bench", "examples")
_HEAD = """# Map of the source

Every file with the sentence that it begins with. `make map` writes this page; a test holds it against the files.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    page = render()
    if parser.parse_args().check:
        return int(PAGE.read_text(encoding="utf-8") != page)
    PAGE.write_text(page, encoding="utf-8")
    return 0


def render() -> str:
    """The text of the page."""
    sections = []
    for folder, files in groupby(_sources(), key=lambda path: path.parent):
        rows = [f"- `{_name(path)}`: {sentence(path)}" for path in files]
        sections.append("\n".join([f"\n## {folder.relative_to(ROOT).as_posix()}\n", *rows]))
    return _HEAD + "\n".join(sections) + "\n"


def sentence(path: Path) -> str:
    """What a file says of itself, in one line. Raises ValueError for one that says nothing."""
    text = path.read_text(encoding="utf-8")
    said = ast.get_docstring(ast.parse(text)) if path.suffix == ".py" else _comment(text)
    if not said:
        raise ValueError(
            f"{path.relative_to(ROOT)} does not begin with a docstring or comment. Say there what it holds."
        )
    paragraph = " ".join(said.split("\n\n")[0].split())
    first = re.match(r"(.*?[.!?:])(?:\s+(?=[A-Z`])|$)", paragraph)
    return (first[1] if first else paragraph).rstrip(".:").strip() + "."


def _comment(text: str) -> str:
    lines = []
    for line in text.splitlines():
        if not line.startswith("//"):
            break
        lines.append(line.removeprefix("//").strip())
    return "\n".join(lines)


def _sources() -> list[Path]:
    found = [
        path
        for folder in FOLDERS
        for suffix in ("py", "h", "cpp", "js")
        for path in (ROOT / folder).rglob(f"*.{suffix}")
        if not {"templates", "__pycache__", "build"} & set(path.parts)
        # A definition stands behind its header; a package that only exists says nothing.
        and not (suffix == "cpp" and path.with_suffix(".h").exists())
        and not (path.name == "__init__.py" and not path.read_text(encoding="utf-8").strip())
    ]
    return sorted(found, key=lambda path: (path.parent.as_posix(), path.name))


def _name(path: Path) -> str:
    return f"{path.name}, .cpp" if path.suffix == ".h" and path.with_suffix(".cpp").exists() else path.name


if __name__ == "__main__":
    raise SystemExit(main())
