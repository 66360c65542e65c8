"""The studio in a browser: a musician's way from a file to a file, and what goes wrong on it."""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from midigpt_core.inference.batching import SharedReader
from midigpt_core.score import Score
from midigpt_core.score.programs import PROGRAM_NAMES
from support.songs import song
from support.studio import asked, cards, drag_bars, exported, open_file, page_of, reload, running, sent_body, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Route

    from support.studio import Server

expect.set_options(timeout=30_000)


@contextmanager
def busy(server: Server) -> Iterator[None]:
    """While this lasts, requests wait for the model."""
    released = threading.Event()
    held = [pool.submit(released.wait, 60) for pool in server.app.state.pools]
    try:
        yield
    finally:
        released.set()
        for one in held:
            one.result()


def test_from_a_file_to_a_file(page: Page) -> None:
    """Open, select, generate, listen, keep, undo, redo, export."""
    original = song()
    open_file(page, original)
    expect(page.locator("#facts")).to_have_text("3 tracks · 8 bars · 80 notes")
    expect(page.locator("#undo")).to_have_attribute("title", "Undo: Open song (Ctrl+Z)")
    drag_bars(page, 0, 2, 3)
    expect(page.locator("#target")).to_have_text("Piano, bars 3–4")
    write(page, 3)
    expect(page.locator("#versions-title")).to_have_text("Fill in Piano, bars 3–4")
    page.keyboard.press("2")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Pause")
    expect(page.locator("#loop")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#place")).to_have_text(re.compile("[34].[1-4]"))
    expect(page.locator(".card.shown b")).to_have_text("Version 2")
    # Without a pause from one version to the other.
    page.keyboard.press("3")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Pause")
    expect(page.locator(".card.shown b")).to_have_text("Version 3")
    page.locator("#keep").click()
    expect(page.locator("#versions")).to_be_hidden()
    page.keyboard.press("Space")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play")

    before, after = Score.from_bytes(original), Score.from_bytes(content := exported(page))
    assert content.count(bytes([0xB0, 64, 127])) == 8
    assert content.count(b"chorus") == 1
    assert content.count((400_000).to_bytes(3, "big")) == 1
    changed = [
        (track.index, bar.index)
        for track in before.tracks
        for bar in track.bars
        if list(bar.notes) != list(after.tracks[track.index].bars[bar.index].notes)
    ]
    assert changed
    assert set(changed) <= {(0, 2), (0, 3)}

    page.keyboard.press("Control+z")
    expect(page.locator("#facts")).to_have_text("3 tracks · 8 bars · 80 notes")
    assert exported(page) == original
    page.keyboard.press("Control+Shift+z")
    assert exported(page) == content


def test_an_empty_song_grows(page: Page) -> None:
    """A first track, a second one, and four more bars; each can be taken back."""
    page.locator("#empty-start").click()
    page.locator("#new-instrument").select_option("drums")
    expect(page.locator("#target")).to_have_text("Drums, bars 1–8")
    write(page)
    page.locator(".card").nth(1).locator(".keep").click()
    page.locator("#new-instrument").select_option(label="Violin")
    write(page)
    page.keyboard.press("k")
    expect(page.locator(".row")).to_have_count(2)
    page.get_by_label("Continue").check()
    page.locator("#continue-bars").fill("3")
    page.locator("#continue-bars").press("Tab")
    expect(page.locator("#target")).to_have_text("2 tracks, bars 9–11")
    write(page)
    page.keyboard.press("k")
    expect(page.locator("#facts")).to_contain_text("2 tracks · 11 bars")
    score = Score.from_bytes(exported(page))
    assert [(track.is_drum, track.program) for track in score.tracks] == [(True, 0), (False, 40)]
    assert all(any(len(bar.notes) for bar in track.bars[8:11]) for track in score.tracks)
    for label in ("Continue by 3 bars", "Add Strings", "Add Drums"):
        expect(page.locator("#undo")).to_have_attribute("title", f"Undo: {label} (Ctrl+Z)")
        page.locator("#undo").click()
    expect(page.locator("#empty")).to_be_visible()


def test_notes_appear_while_they_are_written_and_stopping_keeps_whole_bars(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = SharedReader._carry_out

    def slowly(reader: SharedReader, steps: list[Any]) -> None:
        """Leave time for a click, as reading a large model does."""
        time.sleep(0.003)
        read(reader, steps)

    monkeypatch.setattr(SharedReader, "_carry_out", slowly)
    open_file(page, song(60))
    expect(page.locator(".row")).to_have_count(3)
    page.get_by_role("button", name="Bass", exact=True).click()
    expect(page.locator("#target")).to_have_text("Bass, bars 1–60")
    page.locator("#version-count").select_option("1")
    page.locator("#generate").click()
    # More than one bar has: without a whole bar there is nothing to keep.
    expect(cards(page, "writing").locator(".card-state")).to_have_text(re.compile(r"\d{3,} notes"))
    page.locator("#cancel").click()
    expect(cards(page, "stopped")).to_have_count(1)
    expect(cards(page, "stopped").locator(".card-state")).to_have_text(re.compile(r"\d+ notes, stopped"))
    page.keyboard.press("k")
    expect(page.locator("#undo")).to_have_attribute("title", "Undo: Fill in Bass, bars 1–60 (Ctrl+Z)")


def test_what_has_not_begun_is_cancelled_and_what_is_discarded_comes_back(page: Page, server: Server) -> None:
    open_file(page, song())
    drag_bars(page, 1, 0, 1)
    with busy(server):
        page.locator("#version-count").select_option("6")
        page.keyboard.press("Control+Enter")
        expect(cards(page, "writing")).to_have_count(4)
        expect(cards(page, "queued")).to_have_count(2)
        page.keyboard.press("Escape")
        expect(page.locator("#versions")).to_be_hidden()
    write(page)
    page.keyboard.press("Escape")
    expect(page.locator("#versions")).to_be_hidden()
    page.get_by_role("button", name="Bring them back").click()
    expect(cards(page, "done")).to_have_count(2)


def test_what_the_model_cannot_hear_is_not_sent(page: Page) -> None:
    """The windows of this model have 8 bars at most."""
    open_file(page, song(60))
    page.get_by_role("button", name="Bass", exact=True).click()
    page.get_by_label("Continue").check()
    page.locator("#version-count").select_option("1")
    with page.expect_request("**/generate") as sent:
        page.locator("#generate").click()
    body = sent_body(sent.value)
    assert len(body["score"]["tracks"][0]["bars"]) == 8 + 4
    assert [prompt["bars"] for prompt in body["request"]["tracks"]] == [[8, 9, 10, 11]] * 3
    expect(cards(page, "done")).to_have_count(1)
    page.keyboard.press("k")
    score = Score.from_bytes(exported(page))
    assert all(any(len(bar.notes) for bar in track.bars[60:64]) for track in score.tracks)
    assert all(len(bar.notes) for bar in score.tracks[1].bars[:60])


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    open_file(page, song())
    expect(page.locator(".row")).to_have_count(3)
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.locator("#rolls").evaluate("rolls => rolls === document.activeElement"):
            break
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("#target")).to_have_text("Bass, bars 2–4")
    cell = page.locator("#cursor-cell")
    expect(cell).to_have_attribute("aria-label", "Bass, bar 4, 2 notes, selected")
    expect(cell).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(page.locator("#target")).to_have_text("Bass, bars 2–3")
    page.keyboard.press("g")
    expect(cards(page, "done")).to_have_count(4)
    page.keyboard.press("3")
    expect(page.locator(".card.shown b")).to_have_text("Version 3")
    page.keyboard.press("k")
    page.keyboard.press("Space")
    page.keyboard.press("Control+z")
    expect(page.locator("#facts")).to_have_text("3 tracks · 8 bars · 80 notes")
    page.keyboard.press("Delete")
    expect(page.locator("#facts")).to_have_text("3 tracks · 8 bars · 76 notes")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()


def test_a_file_that_cannot_be_read_is_named_with_the_reason(page: Page) -> None:
    open_file(page, song())
    expect(page.locator(".row")).to_have_count(3)
    open_file(page, b"MThd but no more", "broken.mid")
    expect(page.locator(".notice.error")).to_contain_text("broken.mid, byte 4: the header's length is not 6.")
    expect(page.locator(".row")).to_have_count(3)


def test_what_the_server_refuses_is_shown_in_place(page: Page) -> None:
    open_file(page, song(8, (11, 16)))
    expect(page.locator(".row")).to_have_count(3)
    page.get_by_role("button", name="Piano", exact=True).click()
    page.locator("#generate").click()
    expect(page.locator("#writing-error")).to_contain_text("Piano: bar 1 is in 11/16")
    expect(page.locator("#versions")).to_be_hidden()
    expect(page.locator("#generate")).to_be_enabled()


def test_a_reload_loses_neither_the_song_nor_its_steps_nor_its_versions(page: Page) -> None:
    open_file(page, song())
    drag_bars(page, 0, 4, 5)
    write(page)
    reload(page)
    expect(cards(page, "done")).to_have_count(2)
    page.keyboard.press("k")
    reload(page)
    expect(page.locator("#undo")).to_have_attribute("title", "Undo: Fill in Piano, bars 5–6 (Ctrl+Z)")
    page.locator("#undo").click()
    assert exported(page) == song()


def test_a_server_that_goes_away_is_waited_for(browser: Browser) -> None:
    with running() as server, page_of(browser, server.url) as page:
        expect(page.locator(".pill.ready")).to_be_visible()
        open_file(page, song())
        drag_bars(page, 0, 0, 1)
        server.stop()
        page.locator("#generate").click()
        expect(page.locator(".pill.down")).to_contain_text("Server not reachable")
        expect(cards(page, "waiting")).to_have_count(4)
        open_rolls = page.locator(".row")
        expect(open_rolls).to_have_count(3)
        server.start()
        expect(cards(page, "done")).to_have_count(4)
        expect(page.locator(".pill.ready")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_has_everything(browser: Browser, server: Server, scheme: Any) -> None:
    with page_of(browser, server.url, 390, 844) as page:
        page.emulate_media(color_scheme=scheme)
        open_file(page, song())
        expect(page.locator(".row")).to_have_count(3)
        drag_bars(page, 0, 0, 0)
        write(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        for control in page.locator("button:visible, select:visible, input:visible").all():
            box = control.bounding_box()
            assert box is not None
            inside_scroller = control.evaluate("one => one.closest('.cards, .rolls') !== null")
            assert inside_scroller or (box["x"] >= 0 and box["x"] + box["width"] <= 390), control.inner_html()
        page.locator("#keep").click()
        expect(page.locator("#versions")).to_be_hidden()
        # The keys are more than fit in: their list begins at its beginning.
        page.locator("#help").click()
        assert page.locator("#keys").evaluate("keys => keys.scrollHeight > keys.clientHeight && keys.scrollTop") == 0
        page.keyboard.press("Escape")
        expect(page.locator("#keys")).to_be_hidden()


@pytest.mark.parametrize("preset", ["expressive"])
def test_every_attribute_of_a_model_has_its_control(browser: Browser, preset: str) -> None:
    with running(preset) as server, page_of(browser, server.url) as page:
        open_file(page, song())
        page.get_by_role("button", name="Drums", exact=True).click()
        expect(page.locator("#character .slider label")).to_have_text(["Silence", "Density", "Timing"])
        page.get_by_role("button", name="Piano", exact=True).click()
        expect(page.get_by_role("combobox", name="Key")).to_be_visible()
        shortest = page.get_by_label("Shortest notes")
        shortest.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        expect(shortest).to_have_attribute("aria-valuetext", "16th notes")
        with page.expect_request("**/generate") as sent:
            page.keyboard.press("Control+Enter")
        prompt = sent_body(sent.value)["request"]["tracks"][0]
        assert prompt["attributes"] == {"min_note_duration": 1}
        expect(cards(page, "done")).to_have_count(4)


def test_scale_and_rhythm_are_sent_as_the_server_takes_them(browser: Browser, server: Server) -> None:
    with page_of(browser, server.url) as page:
        page.route("**/info*", with_masks)
        reload(page)
        expect(page.locator(".pill.ready")).to_be_visible()
        open_file(page, song())
        page.get_by_role("button", name="Piano", exact=True).click()
        page.locator("#scale-section summary").click()
        page.get_by_role("radio", name="Scale").check()
        page.locator("#scale-root").select_option("D")
        page.locator("#scale-name").select_option("dorian")
        page.locator("#rhythm-section summary").click()
        page.get_by_role("radio", name="Pattern").check()
        page.get_by_label("Beat 2", exact=True).click()
        page.get_by_label("Beat 1", exact=True).click()
        page.locator("#step-notes").select_option("2")
        expect(page.locator("#scale-summary")).to_have_text("D dorian")
        expect(page.locator("#rhythm-summary")).to_have_text("2 steps a bar")
        request = asked(page)
        assert request["tracks"][0]["controls"] == {
            "pitch_mask": {"scale": "dorian", "root": 2},
            "rhythm_mask": {"positions": [{"pos": 0, "polyphony": 2}, {"pos": 12, "polyphony": 2}]},
        }
        assert request["config"]["tracks_per_step"] == 1
        page.get_by_role("radio", name="Pick notes").check()
        for name in ("C", "E", "G"):
            page.locator("#keyboard").get_by_text(name, exact=True).click()
        page.get_by_role("radio", name="Grid").check()
        page.locator("#grid-unit").select_option("eighth")
        page.get_by_label("Strictness").fill("60")
        assert asked(page)["tracks"][0]["controls"] == {
            "pitch_mask": {"pitch_classes": [0, 4, 7]},
            "rhythm_mask": {"grid": {"unit": "eighth", "strength": 0.6}},
        }


def test_scale_and_rhythm_hold_in_what_is_written(page: Page) -> None:
    open_file(page, song())
    drag_bars(page, 0, 2, 3)
    page.locator("#scale-section summary").click()
    page.get_by_role("radio", name="Scale").check()
    page.locator("#scale-root").select_option("E♭")
    page.locator("#scale-name").select_option("major_pentatonic")
    page.locator("#rhythm-section summary").click()
    page.get_by_role("radio", name="Pattern").check()
    page.get_by_label("Beat 1", exact=True).click()
    page.get_by_label("Beat 3, half", exact=True).click()
    write(page)
    page.keyboard.press("k")
    expect(page.locator("#versions")).to_be_hidden()
    melody = Score.from_bytes(exported(page)).tracks[0]
    for bar in (2, 3):
        notes = list(melody.bars[bar].notes)
        assert [note.onset for note in notes] == [0, 1200]
        assert {(note.pitch - 3) % 12 for note in notes} <= {0, 2, 4, 7, 9}


def with_masks(route: Route) -> None:
    """A server that can restrict notes and rhythms."""
    answer = route.fetch()
    info = answer.json()
    info["capabilities"] |= {
        "supports_pitch_mask": True,
        "supports_rhythm_mask": True,
        "pitch_mask_scale_presets": ["dorian", "major"],
        "rhythm_mask_grid_units": ["eighth", "quarter"],
    }
    route.fulfill(response=answer, json=info)


def test_instruments_and_tempos_are_those_of_the_framework(page: Page) -> None:
    names = page.evaluate("import('/studio/instruments.js').then(module => module.PROGRAMS)")
    assert tuple(names) == PROGRAM_NAMES
    tempos = page.evaluate(
        "bytes => import('/studio/tempo_map.js').then(module => module.tempoMap(Uint8Array.from(bytes)))", list(song())
    )
    assert tempos == [{"quarter": 0, "tempo": 500_000}, {"quarter": 16, "tempo": 400_000}]


def test_text_can_be_read_on_every_ground() -> None:
    """The contrast of each colour of text with each ground: at least 4.5, as WCAG 2 asks for."""
    style = (Path(__file__).parents[2] / "plugins/midigpt_server/studio_page/studio.css").read_text(encoding="utf-8")
    palettes = re.findall(r"color-scheme: (?:light|dark);(.*?)}", style, re.DOTALL)
    assert len(palettes) == 3
    assert " ".join(palettes[1].split()) == " ".join(palettes[2].split())
    for palette in palettes:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", palette))
        pairs = [
            *((text, ground) for text in ("text-1", "text-2") for ground in ("paper", "surface", "raised", "sunken")),
            *(("text-3", ground) for ground in ("paper", "surface", "raised")),
            ("on-primary", "primary"), ("bad", "bad-soft"), ("text-1", "info-soft"),
        ]  # fmt: skip
        low = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
        assert min(low.values()) >= 4.5, low


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted(map(luminance, (one, other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
