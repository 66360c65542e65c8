"""Debian's Chromium, without a window, driven by Playwright."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """A browser for as long as the context lasts."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    assert found, "these tests need Chromium: make browser, or apt-get install chromium"
    with sync_playwright() as playwright:
        # The sandbox does not work as root.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--mute-audio"])
        yield browser
        browser.close()
