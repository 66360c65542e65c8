"""The documentation site is built without a warning, leads nowhere that does not exist, and works in a browser."""

from __future__ import annotations

import fcntl
import functools
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import expect

from support.browser import launched
from support.studio import page_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "site"

expect.set_options(timeout=30_000)


def build(source: Path, output: Path, pages: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    options = [
        "--fail-on-warning",
        "--quiet",
        "--jobs",
        "auto",
        "-b",
        "html",
        "-c",
        str(ROOT / "docs" / "site"),
        "-d",
        str(pages),
    ]
    defines = [part for setting in settings for part in ("-D", setting)]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *options, *defines, str(source), str(output)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def site() -> Path:
    """What `make site` builds; only changed pages are built again."""
    SITE.parent.mkdir(exist_ok=True)
    with (SITE.parent / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = build(ROOT, SITE, SITE.with_name("site-pages"))
    assert (done.returncode, done.stderr) == (0, "")
    return SITE


class Links(HTMLParser):
    """The ids of a page, and what its links, pictures and sounds lead to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif name in {"href", "src"} and value and tag != "use":
                self.targets.add(value)


def dead_links(folder: Path) -> list[str]:
    pages = {path.resolve(): Links(path) for path in folder.rglob("*.html") if "_static" not in path.parts}
    found = []
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not file.is_file() or (anchor and file in pages and anchor not in pages[file].ids):
                found.append(f"{path.relative_to(folder.resolve())}: {target}")
    return sorted(found)


def test_no_link_is_dead(site: Path) -> None:
    assert len([*site.rglob("*.html")]) > 80
    assert dead_links(site) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="b.html#here">b</a> <a href="b.html#gone">b</a> <img src="c.png">')
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1> <a href="https://example.org/x">x</a>')
    assert dead_links(tmp_path) == ["a.html: b.html#gone", "a.html: c.png"]


def test_a_link_to_nowhere_fails_the_build(tmp_path: Path) -> None:
    """To a page, an anchor, a file, and a page that the table of contents lacks."""
    links = ["CONTRIBUTING.md#" + "b", "docs/none" + ".md", "CONTRIBUTING.md#" + "none", "none.py", "toc.yml"]
    (tmp_path / "README.md").write_text("# A\n\n" + "\n".join(f"[a]({link})" for link in links))
    (tmp_path / "CONTRIBUTING.md").write_text("# A\n\n## B\n")
    (tmp_path / "SECURITY.md").write_text("# C\n")
    (tmp_path / "toc.yml").write_text("README:\n  A:\n    - CONTRIBUTING\n")
    done = build(
        tmp_path,
        tmp_path / "site",
        tmp_path / "pages",
        "contents=toc.yml",
        "html_additional_pages.x=page.html",
    )
    assert done.returncode == 1
    warnings = [line for line in done.stderr.splitlines() if "WARNING: " in line]
    assert len(warnings) == 4, done.stderr
    for part in ("docs/none", "'none'", "none.py", "SECURITY.md: WARNING: document isn't included in any toctree"):
        assert any(part in line for line in warnings), done.stderr


def test_every_page_of_docs_is_on_the_site(site: Path) -> None:
    pages = [path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md")]
    assert len(pages) > 40
    assert [str(page) for page in pages if not (site / page).with_suffix(".html").is_file()] == []


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.mark.parametrize("width", [1280, 390])
def test_the_first_page_shows_and_plays_music(browser: Browser, address: str, width: int) -> None:
    with page_of(browser, address, width, ready="h1") as page:
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        pictures = page.locator("article img:visible")
        assert pictures.count() == 3
        for picture in pictures.all():
            assert picture.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") > 1000
        durations = page.locator("audio").evaluate_all(
            """sounds => Promise.all(sounds.map(sound => new Promise((done, failed) => {
                sound.onloadedmetadata = () => done(sound.duration);
                sound.onerror = () => failed(sound.error.message);
                sound.preload = "metadata";
                sound.load();
            })))"""
        )
        assert len(durations) == 2
        assert all(15 < duration < 30 for duration in durations)


def test_search_finds_a_page_and_a_class(browser: Browser, address: str) -> None:
    with page_of(browser, address, ready="h1") as page:
        page.locator("input[name=q]").fill("GenerationRequest")
        page.keyboard.press("Enter")
        results = page.locator("ul.search a")
        expect(results.first).to_be_visible()
        names = results.all_text_contents()
        assert "midigpt_core.inference.GenerationRequest" in names
        assert "Generation" in names
        results.filter(has_text="midigpt_core.inference.GenerationRequest").first.click()
        expect(page.locator("[id='midigpt_core.inference.GenerationRequest']")).to_be_visible()


def test_the_reference_has_signatures_and_docstrings(browser: Browser, address: str) -> None:
    with page_of(browser, address, ready="h1") as page:
        page.goto(f"{address}docs/site/api/inference.html")
        method = page.locator("dt[id='midigpt_core.inference.InferenceEngine.from_checkpoint']")
        expect(method).to_contain_text("device")
        for name in ("GenerationRequest", "InferenceConfig", "TrackPrompt", "SamplingSession.run"):
            described = page.locator(f"dt[id='midigpt_core.inference.{name}'] + dd")
            assert len(described.inner_text()) > 20, name


def test_the_reference_shows_the_defaults_that_attrs_makes(site: Path) -> None:
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (site / "docs" / "site" / "api").glob("*.html")}
    assert [name for name, page in pages.items() if "NOTHING" in page] == []
    text = " ".join(re.sub(r"<[^>]+>", "", pages["inference"]).split())
    assert "bar_attributes: object = {}" in text
    assert "config: InferenceConfig = InferenceConfig()" in text


def test_the_reader_chooses_dark_colours(browser: Browser, address: str) -> None:
    with page_of(browser, address, ready="h1") as page:
        page.goto(f"{address}docs/generation.html")
        shade = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(shade)
        toggle = page.locator(".theme-toggle:visible").first
        for _ in range(2):
            if page.locator("body").get_attribute("data-theme") != "dark":
                toggle.click()
        assert page.locator("body").get_attribute("data-theme") == "dark"
        dark = page.evaluate(shade)
        assert sum(map(int, dark[4:-1].split(", "))) < 150 < sum(map(int, light[4:-1].split(", ")))
        page.reload()
        assert page.locator("body").get_attribute("data-theme") == "dark"
