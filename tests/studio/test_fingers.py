"""The studio under fingers: they select bars, scroll without selecting, and add bars that are not side by side."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from support.songs import song
from support.studio import cards, open_file, page_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, CDPSession, Page

    from support.studio import Server

expect.set_options(timeout=30_000)


@pytest.fixture
def phone(browser: Browser, server: Server) -> Iterator[Page]:
    """A telephone on which a song of four bars is open."""
    with page_of(browser, server.url, 390, 844, has_touch=True, is_mobile=True) as page:
        open_file(page, song(4))
        expect(page.locator(".row")).to_have_count(3)
        yield page


@pytest.fixture
def devtools(phone: Page) -> CDPSession:
    return phone.context.new_cdp_session(phone)


def middle_of(page: Page, track: int, bar: int) -> tuple[float, float]:
    """The middle of a bar of a song of four."""
    box = page.locator(".lane canvas").nth(track).bounding_box()
    assert box is not None
    return box["x"] + (box["width"] - 8) / 4 * (bar + 0.5), box["y"] + box["height"] / 2


def touch(devtools: CDPSession, *points: tuple[float, float]) -> None:
    """One finger, from the first point over the others."""
    devtools.send(
        "Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": points[0][0], "y": points[0][1]}]}
    )
    for x, y in points[1:]:
        devtools.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y}]})
    # The finger rests before it is lifted. Else the page goes on scrolling, and the next tap only stops it.
    time.sleep(0.3)
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def between(start: tuple[float, float], end: tuple[float, float], steps: int = 12) -> list[tuple[float, float]]:
    across, down = end[0] - start[0], end[1] - start[1]
    return [(start[0] + across * step / steps, start[1] + down * step / steps) for step in range(steps + 1)]


def test_a_finger_selects_bars_and_scrolls_without_selecting(phone: Page, devtools: CDPSession) -> None:
    boxes = [lane.bounding_box() for lane in phone.locator(".lane canvas").all()]
    first, second = (box for box in boxes[:2] if box is not None)
    bar = (first["width"] - 8) / 4
    y = first["y"] + first["height"] / 2
    touch(devtools, *between((first["x"] + bar * 1.5, y), (first["x"] + bar * 2.5, y)))
    expect(phone.locator("#target")).to_have_text("Piano, bars 2–3")
    # A drag that begins to the side goes on over other tracks.
    turn = (first["x"] + bar * 1.5, y)
    touch(
        devtools, *between((first["x"] + bar * 0.5, y), turn), *between(turn, (turn[0], second["y"] + 20)),
    )  # fmt: skip
    expect(phone.locator("#target")).to_have_text("2 tracks, bars 1–2")
    # One up or down scrolls, and what was selected stays.
    before = phone.evaluate("scrollY")
    touch(devtools, *between((first["x"] + bar * 3.5, second["y"] + 20), (first["x"] + bar * 3.5, second["y"] - 180)))
    phone.wait_for_function(
        "before => scrollY > before + 20 || document.querySelector('#rolls').scrollTop > 20", arg=before
    )
    expect(phone.locator("#target")).to_have_text("2 tracks, bars 1–2")
    phone.evaluate("scrollTo(0, 0)")
    phone.locator("#version-count").select_option("1")
    phone.locator("#generate").tap()
    expect(cards(phone, "done")).to_have_count(1)
    phone.locator("#keep").tap()
    expect(phone.locator("#undo")).to_have_attribute("title", "Undo: Fill in 2 tracks, bars 1–2 (Ctrl+Z)")


def fingers(devtools: CDPSession, kind: str, *points: tuple[float, float]) -> None:
    """``points``: where the fingers are now. One that was down and has no place any more is lifted."""
    placed = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
    devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": placed})


@contextmanager
def second_finger(devtools: CDPSession, first: tuple[float, float], second: tuple[float, float]) -> Iterator[None]:
    """Another finger is down while this lasts."""
    fingers(devtools, "touchStart", first, second)
    yield
    fingers(devtools, "touchMove", first)


def test_a_second_finger_changes_nothing_and_the_first_goes_on(phone: Page, devtools: CDPSession) -> None:
    target = phone.locator("#target")
    start, end, other = middle_of(phone, 0, 0), middle_of(phone, 0, 1), middle_of(phone, 1, 3)
    fingers(devtools, "touchStart", start)
    for point in between(start, end):
        fingers(devtools, "touchMove", point)
    expect(target).to_have_text("Piano, bars 1–2")
    with second_finger(devtools, end, other):
        fingers(devtools, "touchMove", end, (other[0] - 30, other[1] - 30))
        expect(target).to_have_text("Piano, bars 1–2")
    further = middle_of(phone, 0, 2)
    for point in between(end, further):
        fingers(devtools, "touchMove", point)
    expect(target).to_have_text("Piano, bars 1–3")
    fingers(devtools, "touchEnd")
    # The next finger begins a selection of its own.
    touch(devtools, other)
    expect(target).to_have_text("Bass, bar 4")


def test_fingers_add_bars_that_are_apart_and_take_them_out(phone: Page, devtools: CDPSession) -> None:
    target, more = phone.locator("#target"), phone.locator("#select-more")
    touch(devtools, middle_of(phone, 0, 0))
    expect(target).to_have_text("Piano, bar 1")
    more.tap()
    expect(more).to_have_attribute("aria-pressed", "true")
    touch(devtools, middle_of(phone, 0, 2))
    expect(target).to_have_text("Piano, bars 1, 3")
    touch(devtools, *between(middle_of(phone, 1, 2), middle_of(phone, 1, 3)))
    expect(target).to_have_text("2 tracks, bars 1, 3–4")
    touch(devtools, middle_of(phone, 0, 0))
    expect(target).to_have_text("2 tracks, bars 3–4")
    phone.get_by_role("button", name="Bass", exact=True).tap()
    expect(target).to_have_text("2 tracks, bars 1–4")
    phone.get_by_role("button", name="Bass", exact=True).tap()
    expect(target).to_have_text("Piano, bar 3")
    phone.locator("#version-count").select_option("1")
    phone.locator("#generate").tap()
    expect(cards(phone, "done")).to_have_count(1)
    phone.locator("#keep").tap()
    # Another selection begins.
    expect(more).to_have_attribute("aria-pressed", "false")
    touch(devtools, middle_of(phone, 0, 0))
    expect(target).to_have_text("Piano, bar 1")


def test_a_mouse_needs_no_button_to_select_more(browser: Browser, server: Server) -> None:
    with page_of(browser, server.url) as page:
        open_file(page, song(4))
        expect(page.locator("#select-more")).to_be_hidden()
        page.mouse.click(*middle_of(page, 0, 0))
        page.keyboard.down("Control")
        page.mouse.click(*middle_of(page, 0, 2))
        page.get_by_role("button", name="Bass", exact=True).click()
        expect(page.locator("#target")).to_have_text("2 tracks, bars 1–4")
