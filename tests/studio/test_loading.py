"""The studio while it loads: files that come early, clicks that come early, and a server that goes away meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from support.songs import song
from support.studio import exported, go_to, open_file

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page, Route

    from support.studio import Server

expect.set_options(timeout=30_000)

FACTS = "3 tracks · 8 bars · 80 notes"


@pytest.fixture
def song_file(tmp_path: Path) -> Path:
    path = tmp_path / "song.mid"
    path.write_bytes(song())
    return path


def hold(page: Page, pattern: str) -> list[Route]:
    """The page's requests for such an address, which wait until the test continues them."""
    held: list[Route] = []

    def keep(route: Route) -> None:
        held.append(route)

    page.route(pattern, keep)
    return held


@pytest.fixture
def slow_module(page: Page, server: Server) -> Route:
    """The page without one of its modules, whose request is this one."""
    held = hold(page, "**/studio/model.js")
    with page.expect_request("**/studio/model.js"):
        page.goto(server.url, wait_until="commit")
    page.locator("#drop").wait_for(state="attached")
    return held[0]


def drop_from_a_folder(page: Page, path: Path) -> None:
    """Drag a file over the middle of the window and let it go there, as a person does."""
    devtools = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 640, "y": 400, "data": data})


def test_a_file_that_is_dropped_before_the_page_is_there_is_opened_by_it(
    page: Page, server: Server, slow_module: Route, song_file: Path
) -> None:
    expect(page.locator("body")).to_have_attribute("aria-busy", "true")
    drop_from_a_folder(page, song_file)
    assert page.url == server.url
    slow_module.continue_()
    expect(page.locator("#facts")).to_have_text(FACTS)
    assert exported(page) == song()
    # The same once the page is there.
    page.locator("#new").click()
    drop_from_a_folder(page, song_file)
    expect(page.locator("#facts")).to_have_text(FACTS)
    assert page.url == server.url


def test_the_latest_of_the_files_that_come_early_is_opened(page: Page, slow_module: Route) -> None:
    open_file(page, song(12))
    open_file(page, song())
    slow_module.continue_()
    expect(page.locator("#facts")).to_have_text(FACTS)
    expect(page.locator("#undo")).to_have_attribute("title", "Undo: Open song (Ctrl+Z)")


def test_a_click_waits_until_the_page_can_act_on_it(page: Page, slow_module: Route) -> None:
    """The buttons are there before what they do. Till then they take no click and no focus."""
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement === document.body")
    assert page.locator("#help").evaluate("help => document.elementFromPoint(help.offsetLeft + 9, 20) !== help")
    slow_module.continue_()
    page.locator("#help").click()
    expect(page.locator("#keys")).to_be_visible()
    expect(page.locator("body")).not_to_have_attribute("aria-busy", "true")


def test_the_page_does_not_wait_for_the_model(page: Page, server: Server, song_file: Path) -> None:
    held = hold(page, "**/info?*")
    with page.expect_request("**/info?*"):
        go_to(page, server.url)
    drop_from_a_folder(page, song_file)
    expect(page.locator("#facts")).to_have_text(FACTS)
    expect(page.locator("#connection-text")).to_have_text("Connecting")
    expect(page.locator("#generate")).to_be_disabled()
    held[0].continue_()
    expect(page.locator(".pill.ready")).to_be_visible()


def test_a_page_that_was_not_loaded_whole_says_so_and_loads_again(page: Page, slow_module: Route) -> None:
    answers = [False, True]
    page.route("**/models", lambda route: route.continue_() if answers.pop(0) else route.abort(), times=2)
    slow_module.abort()
    expect(page.locator(".pill.down")).to_have_text("Server not reachable, trying again")
    page.unroute("**/studio/model.js")
    expect(page.locator(".pill.ready")).to_be_visible()
    assert answers == []
