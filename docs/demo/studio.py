"""Take the pictures of the studio that README and docs/studio.md show.

python docs/demo/studio.py runs/demo/model/model_final.pt runs/demo/data/song.mid
python docs/demo/studio.py BUNDLE SONG --states FOLDER       # every state of the page, for looking at

Needs Chromium and the package playwright, as the tests of the studio do.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

_DOCS = Path(__file__).resolve().parents[1]
_MOST_COLOURS = 256
_SEED = "11"
_VARIETY = "75"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="bundle of the model")
    parser.add_argument("song", type=Path, help="MIDI file to open")
    parser.add_argument("--states", type=Path, metavar="FOLDER", help="write a picture of every state there instead")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Chromium is missing. Run: make browser")
    with serving(options.bundle) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--mute-audio"])
        if options.states is None:
            take_for_docs(browser, url, options.song)
        else:
            options.states.mkdir(parents=True, exist_ok=True)
            take_all(browser, url, options.song, options.states)
        browser.close()


@contextmanager
def serving(bundle: str) -> Iterator[str]:
    """The address of a server with the model."""
    command = [sys.executable, "-m", "midigpt", "serve", "--checkpoint", bundle, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        found = next(filter(None, (re.search(r"Listening on (\S+)", line) for line in process.stderr)), None)
        if found is None:
            sys.exit("the server did not start")
        yield found[1]
    finally:
        process.kill()
        process.communicate()


def take_for_docs(browser: Browser, url: str, song: Path) -> None:
    page = opened(browser, url, song)
    select(page, 0, 4, 7)
    write(page)
    page.keyboard.press("2")
    page.wait_for_timeout(1500)
    picture(page, _DOCS / "studio.png")
    page = opened(browser, url, song, dark=True)
    select(page, 1, 8, 11, down_to=2)
    picture(page, _DOCS / "studio-dark.png")
    page = opened(browser, url, song, width=390, height=844)
    select(page, 0, 2, 3)
    write(page)
    page.locator("#versions").scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, document.querySelector('.song-bar').offsetTop)")
    picture(page, _DOCS / "studio-narrow.png")


def take_all(browser: Browser, url: str, song: Path, folder: Path) -> None:
    for dark in (False, True):
        for width, height in ((1280, 800), (390, 844)):
            name = f"{'dark' if dark else 'light'}-{width}"
            take_states(browser, url, song, folder / name, width=width, height=height, dark=dark)


def take_states(browser: Browser, url: str, song: Path, stem: Path, *, width: int, height: int, dark: bool) -> None:
    def take(state: str) -> None:
        page.wait_for_timeout(250)
        page.screenshot(path=f"{stem}-{state}.png", full_page=width < 900)

    page = opened(browser, url, None, width, height, dark=dark)
    take("1-empty")
    page.locator("#empty-start").click()
    take("2-new-track")
    page = opened(browser, url, song, width, height, dark=dark)
    take("3-song")
    for section in ("scale", "rhythm", "more"):
        page.locator(f"#{section}-section summary").click()
    for radio in page.locator("input[value=own], input[value=grid]").all():
        if radio.is_enabled():
            radio.check()
    take("4-controls")
    select(page, 0, 4, 7)
    take("5-selected")
    page.locator("#version-count").select_option("8")
    page.locator("#generate").click()
    page.locator(".card[data-state=done]").first.wait_for()
    take("6-streaming")
    page.locator(".card[data-state=done]").nth(7).wait_for(timeout=120_000)
    page.keyboard.press("3")
    take("7-versions")
    page.keyboard.press("Space")
    page.keyboard.press("k")
    broken = [{"name": "broken.mid", "mimeType": "audio/midi", "buffer": b"MThd but no more"}]
    page.locator("#file").set_input_files(broken)
    page.locator(".notice.error").wait_for()
    take("8-error")
    page.keyboard.press("?")
    take("9-keys")
    page.keyboard.press("Escape")
    page.context.set_offline(True)
    select(page, 0, 4, 7)
    page.locator("#generate").click()
    page.locator(".pill.down").wait_for()
    take("10-away")
    page.context.set_offline(False)


def opened(
    browser: Browser, url: str, song: Path | None, width: int = 1280, height: int = 800, *, dark: bool = False
) -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(url)
    page.locator(".pill.ready").wait_for()
    if song is not None:
        page.locator("#file").set_input_files(song)
        page.locator(".row").first.wait_for()
        page.wait_for_timeout(300)
    return page


def select(page: Page, track: int, first: int, last: int, down_to: int | None = None) -> None:
    """Drag over bars, counted from 0, of a song with sixteen."""
    page.locator(".row").nth(track).scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, 0)")
    boxes = [page.locator(".lane canvas").nth(one).bounding_box() for one in (track, down_to or track)]
    start, end = (box for box in boxes if box is not None)
    wide = (start["width"] - 8) / 16
    page.mouse.move(start["x"] + wide * (first + 0.5), start["y"] + 30)
    page.mouse.down()
    page.mouse.move(end["x"] + wide * (last + 0.5), end["y"] + 30, steps=5)
    page.mouse.up()
    page.wait_for_timeout(200)


def write(page: Page) -> None:
    page.locator("#more-section summary").click()
    page.locator("#seed").fill(_SEED)
    page.locator("#seed").press("Tab")
    page.locator("#temperature").fill(_VARIETY)
    page.locator("#more-section summary").click()
    page.locator(".writing-scroll").evaluate("one => one.scrollTo(0, 0)")
    page.locator("#generate").click()
    page.locator(".card[data-state=done]").nth(3).wait_for(timeout=120_000)
    page.wait_for_timeout(300)


def picture(page: Page, path: Path) -> None:
    """A picture of few bytes."""
    page.screenshot(path=path)
    with Image.open(path) as image:
        image.convert("RGB").quantize(_MOST_COLOURS).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
