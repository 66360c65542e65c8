"""A browser, and the studio in it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from support.studio import page_of, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from support.studio import Server

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    assert found, "these tests need Chromium: make browser, or apt-get install chromium"
    with sync_playwright() as playwright:
        # The sandbox does not work as root.
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--mute-audio"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running() as started:
        yield started


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    with page_of(browser, server.url) as made:
        yield made
