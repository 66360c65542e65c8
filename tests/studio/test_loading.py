"""The studio while it loads: files that come early, clicks that come early, and a server that goes away meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from support.songs import in_riff, song
from support.studio import exported, go_to, open_file

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Route

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
    expect(page.locator("main")).to_have_attribute("aria-busy", "true")
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
    expect(page.locator("main")).not_to_have_attribute("aria-busy", "true")


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


def test_a_file_that_stays_missing_is_named_and_the_loading_ends(page: Page, server: Server) -> None:
    loads: list[str] = []
    page.on("request", lambda request: loads.append(request.url) if request.is_navigation_request() else None)
    page.route("**/studio/model.js", lambda route: route.fulfill(status=404))
    page.goto(server.url)
    expect(page.locator(".notice.error")).to_have_text(
        "The server answers, but studio/model.js could not be loaded. Restart the server, then reload the page."
    )
    expect(page.locator("[inert]")).to_have_count(0)
    assert loads == [server.url] * 3
    # A load that is whole counts from the start again.
    page.unroute("**/studio/model.js")
    go_to(page, server.url)
    assert page.evaluate("sessionStorage.getItem('midigpt-studio-tries')") == "0"


def test_messages_are_read_out_while_the_page_starts(page: Page, slow_module: Route) -> None:
    for part in ("#notices", "#connection"):
        assert page.locator(part).evaluate("part => part.closest('[inert], [aria-busy]') === null")
    slow_module.continue_()
    expect(page.locator("[inert]")).to_have_count(0)


def test_the_page_starts_without_a_database_that_never_answers(page: Page, server: Server) -> None:
    page.add_init_script("IDBFactory.prototype.open = () => ({})")
    page.clock.install()
    page.goto(server.url)
    expect(page.locator("main")).to_have_attribute("aria-busy", "true")
    page.clock.fast_forward(5_000)
    expect(page.locator(".notice.error")).to_have_text(
        "What the browser kept cannot be read (the browser's database has not answered for 5 seconds)."
    )
    expect(page.locator("[inert]")).to_have_count(0)


def test_the_page_starts_where_the_browser_keeps_nothing(page: Page, server: Server) -> None:
    page.add_init_script(
        "for (const name of ['localStorage', 'sessionStorage', 'indexedDB'])"
        "  Object.defineProperty(window, name, { get() { throw new DOMException('denied', 'SecurityError') } })"
    )
    go_to(page, server.url)
    expect(page.locator(".notice.error")).to_have_text("What the browser kept cannot be read (denied).")
    page.locator("#theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_start_that_fails_says_why(browser: Browser, server: Server) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.add_init_script("window.ResizeObserver = class { constructor() { throw new Error('no observer') } }")
        page.goto(server.url)
        expect(page.get_by_role("alert")).to_have_text("The page could not start (no observer). Reload it.")
        expect(page.locator("#connection")).to_have_text("Page not started")
        expect(page.locator("[inert]")).to_have_count(0)


def test_an_rmi_file_is_the_midi_file_in_it(page: Page) -> None:
    open_file(page, in_riff(song()), "old.rmi")
    expect(page.locator("#facts")).to_have_text(FACTS)
    expect(page.locator("#song-name")).to_have_value("old")
    expect(page.locator("#tempo")).to_have_attribute("title", "The tempo changes in this song, as its file says.")
    assert exported(page) == song()


def test_what_is_too_large_or_a_folder_is_named_and_not_sent(page: Page, tmp_path: Path) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    film = tmp_path / "film.mid"
    with film.open("wb") as stream:
        stream.truncate((16 << 20) + 1)
    page.locator("#file").set_input_files(str(film))
    expect(page.locator("#notices")).to_contain_text("film.mid is larger than 16 MiB")
    (tmp_path / "songs").mkdir()
    drop_from_a_folder(page, tmp_path / "songs")
    expect(page.locator("#notices")).to_contain_text("songs cannot be read: it is a folder")
    assert not [url for url in sent if "studio/read" in url]
