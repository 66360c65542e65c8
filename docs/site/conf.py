"""How Sphinx makes the documentation site: `make site` builds it, with warnings as errors, into build/site."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import yaml

from midigpt_core import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
#: A link in Markdown to a path, without an anchor.
_LINK = re.compile(r"(?<=\]\()(?P<path>[^()\s#:]+)(?=\))")
_PAGE_OF_FOLDER = "README.md"

project = "midigpt-core"
author = copyright = "The midigpt-core authors"
release = version = __version__

# The source folder is the root of the repository: links from page to page, and to files, are the same on GitHub.
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
root_doc = "README"
include_patterns = [
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "changelog.d/README.md", "docs/**"),
    *("examples/README.md", "examples/*/*.md", "bench/README.md", "bench/results/latest.md"),
]

myst_heading_anchors = 4
highlight_language = "sh"

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_display_short_literal_types = True
add_module_names = False

html_theme = "furo"
html_title = "midigpt-core"
html_static_path = [
    "static",
    *(f"../chorales/{name}{suffix}" for name in ("continued", "all-voices") for suffix in (".png", ".mp3")),
    *("../studio.png", "../studio-dark.png"),
]
html_css_files = ["site.css"]
templates_path = ["templates"]
html_additional_pages = {"index": "landing.html"}
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go, .c1"

# Packages load what they export when it is first used; autodoc sees what is loaded.
for _name in ("checkpoint", "config", "inference", "plugins", "score", "testing"):
    _package = import_module(f"midigpt_core.{_name}")
    vars(_package).update({name: getattr(_package, name) for name in _package.__all__})


def setup(app: Sphinx) -> None:
    app.add_config_value("contents", "docs/site/toc.yml", "env")
    app.connect("source-read", _lead_folders_to_their_pages)
    app.connect("source-read", _add_contents)
    app.connect("autodoc-process-signature", _show_defaults)


def _show_defaults(app: Sphinx, *about: Any) -> tuple[str | None, str | None]:
    """attrs makes some defaults for each object; its signature has a placeholder, ``NOTHING``, for them."""
    _what, _name, shown, _options, signature, returns = about
    if signature and isinstance(shown, type) and attrs.has(shown):
        for field in attrs.fields(shown):
            if isinstance(field.default, attrs.Factory) and field.init:  # type: ignore[arg-type]
                text = _made_default(field.default)
                signature = re.sub(
                    rf"(\b{field.alias}: [^=]* = )NOTHING", lambda found, text=text: found[1] + text, signature, count=1
                )
    return signature, returns


def _made_default(made: Any) -> str:
    """A default that attrs makes, as a call would state it; ``...`` if it depends on the object's other fields."""
    if made.takes_self:
        return "..."
    default = made.factory()
    return repr(default) if type(default) in {dict, list, set} else f"{type(default).__name__}()"


def _lead_folders_to_their_pages(app: Sphinx, name: str, source: list[str]) -> None:
    """On GitHub a link to a folder shows its README.md."""
    folder = Path(app.env.doc2path(name)).parent

    def target(match: re.Match[str]) -> str:
        path = match["path"].rstrip("/")
        return f"{path}/{_PAGE_OF_FOLDER}" if (folder / path / _PAGE_OF_FOLDER).is_file() else match["path"]

    source[0] = _LINK.sub(target, source[0])


def _add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """The table of contents is kept out of the pages: GitHub would show its directives."""
    contents = yaml.safe_load((Path(app.srcdir) / app.config.contents).read_text(encoding="utf-8"))
    for heading, pages in contents.get(name, {}).items():
        options = [":hidden:", ":titlesonly:", ":glob:", *([f":caption: {heading}"] if heading else [])]
        source[0] += "\n".join(
            ["\n\n```{toctree}", *options, "", *(f"/{page}" if "<" not in page else page for page in pages), "```\n"]
        )
