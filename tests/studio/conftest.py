"""A browser, and the studio in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.browser import launched
from support.studio import page_of, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from support.studio import Server


# Not for the session: while Playwright runs, this thread has an event loop that is running, and no other can start.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running() as started:
        yield started


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    with page_of(browser, server.url) as made:
        yield made
