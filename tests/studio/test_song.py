"""The studio in a browser: files that are dropped, instruments, variations, single bars, several windows."""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from midigpt_core.score import Score
from support.kept_events import assert_only_cells_differ
from support.midi_bytes import MidiBytes
from support.songs import song, with_lyrics
from support.studio import (
    asked,
    drag_bars,
    exported,
    go_to,
    open_file,
    page_of,
    reload,
    running,
    sent_body,
    write,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from support.studio import Server

expect.set_options(timeout=30_000)


def drop(page: Page, content: bytes, name: str = "song.mid") -> None:
    """What a browser fires while a file is dragged over the page and dropped."""
    transfer = page.evaluate_handle(
        """([base64, name]) => {
          const transfer = new DataTransfer();
          const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
          transfer.items.add(new File([bytes], name, { type: "audio/midi" }));
          return transfer;
        }""",
        [base64.b64encode(content).decode(), name],
    )
    page.dispatch_event("main", "dragenter", {"dataTransfer": transfer})
    expect(page.locator("#drop")).to_be_visible()
    page.dispatch_event("main", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("main", "drop", {"dataTransfer": transfer})
    expect(page.locator("#drop")).to_be_hidden()


def test_a_dropped_file_is_opened_and_its_other_events_are_exported(page: Page) -> None:
    """Pedals, tempo map, marker, names: every event but the notes of the bars that were written."""
    original = song()
    drop(page, original)
    expect(page.locator("#facts")).to_have_text("3 tracks · 8 bars · 80 notes")
    expect(page.locator("#song-name")).to_have_value("song")
    expect(page.locator("#tempo")).to_have_attribute("title", "The tempo changes in this song, as its file says.")
    drag_bars(page, 0, 2, 3)
    write(page)
    page.keyboard.press("k")
    expect(page.locator("#versions")).to_be_hidden()
    content = exported(page)
    assert content != original
    assert_only_cells_differ(original, content, {(0, 2), (0, 3)})


def test_a_dropped_file_that_is_no_midi_file_is_named(page: Page) -> None:
    drop(page, b"\x89PNG and more", "cover.png")
    expect(page.locator(".notice.error")).to_contain_text("cover.png, byte 0: ")
    expect(page.locator("#empty")).to_be_visible()


def test_instruments_of_a_files_tracks_are_changed_and_exported(page: Page) -> None:
    original = song()
    open_file(page, original)
    page.get_by_label("Instrument of Piano").select_option(label="Violin")
    expect(page.locator("#undo")).to_have_attribute("title", "Undo: Change the instrument of Piano (Ctrl+Z)")
    content = exported(page)
    assert [track.program for track in Score.from_bytes(content).tracks] == [40, 33, 0]
    assert len(content) == len(original)
    assert sum(one != other for one, other in zip(content, original, strict=True)) == 1
    page.keyboard.press("Control+z")
    assert exported(page) == original
    expect(page.locator("select.instrument")).to_have_count(2)


def test_remarks_of_the_export_name_the_tracks(page: Page) -> None:
    """The hands of a piano on one channel, as a file counts them from 0."""
    midi = MidiBytes()
    hands = [b"\x00\xff\x03\x05Right\x00\xc0\x00" + midi.note(60), b"\x00\xc0\x00" + midi.note(40)]
    open_file(page, midi.file(*hands))
    page.get_by_label("Instrument of Piano").select_option(label="Acoustic Bass")
    exported(page)
    expect(page.locator(".notice.warning")).to_have_text(
        "Right and Bass share a MIDI channel: players give all of them the instrument that was set last."
    )


@pytest.mark.parametrize(
    ("message", "spelled"),
    [
        ("track 0: bar 0 is in 11/16.", "Piano: bar 9 is in 11/16."),
        ("tracks 0-2: bars 2-4, 8 and 13 more are new.", "Piano, Bass and Bar 7: bars 11–13, 17 and 13 more are new."),
        ("bars 2 to 5 take more than 64 tokens", "bars 11–14 take more than 64 tokens"),
        ("bars 3 to 3: the encoder has no tokens", "bar 12: the encoder has no tokens"),
        ("tracks 0 to 2: bars 0 to 1, 4 and 6", "Piano, Bass and Bar 7: bars 9–10, 13, 15"),
        ("track 2: bar_controls[1]: the bar is not written.", "Bar 7: bar_controls[10]: the bar is not written."),
        ("all are taken: new tracks 1, 2 are on a port", "all are taken: new tracks Bass and Bar 7 are on a port"),
        ("track 9: the score's first 3 tracks have 4 bars.", "track 9: the score's first 3 tracks have 4 bars."),
    ],
)  # fmt: skip
def test_messages_of_the_server_are_in_the_terms_of_the_page(page: Page, message: str, spelled: str) -> None:
    song = {"tracks": [{"name": name, "program": 0, "drum": False} for name in ("Piano", "Bass", "Bar 7")]}
    call = "([message, song]) => import('/studio/wording.js').then(module => module.inSongTerms(message, song, 8))"
    assert page.evaluate(call, [message, song]) == spelled


def test_old_notes_are_varied(page: Page) -> None:
    original = song()
    open_file(page, original)
    drag_bars(page, 0, 2, 3)
    page.locator("#rhythm-section summary").click()
    page.get_by_role("radio", name="Vary old notes").check()
    expect(page.locator("#rhythm-unsupported")).to_have_text("A variation keeps the rhythm that is there.")
    expect(page.locator("#rhythm-summary")).to_have_text("as it is")
    share = page.get_by_label("New notes")
    share.fill("30")
    expect(share).to_have_attribute("aria-valuetext", "30 %")
    with page.expect_request("**/generate") as sent:
        write(page, 2)
    prompt = sent_body(sent.value)["request"]["tracks"][0]
    assert prompt["controls"] == {"remix": {"amount": 0.3, "mode": "pitch"}}
    expect(page.locator("#versions-title")).to_have_text("Vary Piano, bars 3–4")
    page.keyboard.press("k")
    expect(page.locator("#versions")).to_be_hidden()
    before, after = Score.from_bytes(original), Score.from_bytes(exported(page))
    changed = 0
    for bar in (2, 3):
        old, new = before.tracks[0].bars[bar].notes, after.tracks[0].bars[bar].notes
        assert [note.onset for note in new] == [note.onset for note in old]
        changed += sum(one.pitch != other.pitch for one, other in zip(old, new, strict=True))
    # Three in ten of eight notes; one of them may have got its old pitch again.
    assert 0 < changed <= 2
    page.get_by_label("Lengths and loudness too").check()
    assert asked(page)["tracks"][0]["controls"] == {"remix": {"amount": 0.3, "mode": "full"}}
    # New bars have nothing to vary.
    page.get_by_label("Continue").check()
    expect(page.locator("#variation-fields")).to_be_hidden()
    assert asked(page)["tracks"][0]["controls"] == {}


def test_single_bars_have_a_scale_and_a_rhythm_of_their_own(page: Page) -> None:
    open_file(page, song(16))
    page.get_by_role("button", name="Piano", exact=True).click()
    page.locator("#scale-section summary").click()
    page.get_by_role("radio", name="Scale").check()
    page.locator("#scale-name").select_option("major_pentatonic")
    page.locator("#bars-section summary").click()
    page.get_by_role("button", name="Add bars").click()
    bars = page.get_by_label("Bars of rule 1")
    expect(bars).to_have_value("16")
    bars.fill("9-10, 12")
    bars.press("Tab")
    expect(page.get_by_role("button", name="Remove rule 1")).to_be_focused()
    page.get_by_label("Scale of rule 1", exact=True).select_option("F♯")
    page.get_by_label("Rhythm of rule 1").select_option("quarter")
    page.get_by_role("button", name="Add bars").click()
    page.get_by_label("Bars of rule 2").fill("nine")
    page.get_by_label("Bars of rule 2").press("Tab")
    expect(page.get_by_label("Bars of rule 2")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#bars-summary")).to_have_text("1 rule")
    # A click counts although it ends the typing in another field.
    page.get_by_role("button", name="Add bars").click()
    page.get_by_label("Bars of rule 3").click()
    page.keyboard.type("1")
    page.get_by_role("button", name="Remove rule 3").click()
    expect(page.get_by_label("Bars of rule 3")).to_have_count(0)
    with page.expect_request("**/generate") as sent:
        write(page, 1)
    prompt = sent_body(sent.value)["request"]["tracks"][0]
    of_bar = {
        "pitch_mask": {"scale": "major_pentatonic", "root": 6},
        "rhythm_mask": {"grid": {"unit": "quarter"}},
    }  # fmt: skip
    assert prompt["bar_controls"] == {"8": of_bar, "9": of_bar, "11": of_bar}
    page.keyboard.press("k")
    expect(page.locator("#versions")).to_be_hidden()
    piano = Score.from_bytes(exported(page)).tracks[0]
    # A bar may have come out empty.
    assert sum(len(bar.notes) > 0 for bar in piano.bars) > 8
    for bar in range(16):
        notes = list(piano.bars[bar].notes)
        root = 6 if bar in (8, 9, 11) else 0
        assert {(note.pitch - root) % 12 for note in notes} <= {0, 2, 4, 7, 9}
        assert not root or {note.onset % 480 for note in notes} <= {0}
    reload(page)
    page.locator("#bars-section summary").click()
    expect(page.get_by_label("Bars of rule 1")).to_have_value("9-10, 12")
    page.get_by_role("button", name="Remove rule 1").click()
    page.get_by_role("button", name="Remove rule 1").click()
    expect(page.locator("#bars-summary")).to_have_text("all alike")


def test_single_bars_count_from_the_first_bar_that_is_sent(page: Page) -> None:
    """Of a long song the server gets the bars that the model hears."""
    open_file(page, song(60))
    page.get_by_role("button", name="Bass", exact=True).click()
    page.get_by_label("Continue").check()
    page.locator("#bars-section summary").click()
    page.get_by_role("button", name="Add bars").click()
    page.get_by_label("Scale of rule 1", exact=True).select_option("any notes")
    page.get_by_label("Rhythm of rule 1").select_option("any rhythm")
    prompts = asked(page)["tracks"]
    anything = {"pitch_mask": {}, "rhythm_mask": {"grid": {"unit": "sixteenth", "strength": 0}}}
    assert [prompt.get("bar_controls") for prompt in prompts] == [
        {"11": anything}, {"11": anything}, {"11": {"rhythm_mask": anything["rhythm_mask"]}},
    ]  # fmt: skip


def facts(page: Page, text: str) -> None:
    expect(page.locator("#facts")).to_have_text(text)


def test_each_window_has_a_song_of_its_own(page: Page, server: Server) -> None:
    open_file(page, song())
    facts(page, "3 tracks · 8 bars · 80 notes")
    second = page.context.new_page()
    go_to(second, server.url)
    expect(second.locator(".notice.info")).to_contain_text("Your song is open in another window")
    expect(second.locator("#empty")).to_be_visible()
    open_file(second, song(12))
    facts(second, "3 tracks · 12 bars · 120 notes")
    page.get_by_role("button", name="Mute Piano").click()
    page.get_by_label("Instrument of Piano").select_option(label="Violin")
    for window, text in ((page, "3 tracks · 8 bars · 80 notes"), (second, "3 tracks · 12 bars · 120 notes")):
        reload(window)
        facts(window, text)
    expect(page.locator("#undo")).to_have_attribute("title", "Undo: Change the instrument of Piano (Ctrl+Z)")
    # What a closed window had is there in the next one that is opened.
    second.close()
    third = page.context.new_page()
    go_to(third, server.url)
    facts(third, "3 tracks · 12 bars · 120 notes")
    reload(page)
    facts(page, "3 tracks · 8 bars · 80 notes")


def test_a_window_that_is_duplicated_goes_on_with_a_copy(page: Page, server: Server) -> None:
    open_file(page, song())
    facts(page, "3 tracks · 8 bars · 80 notes")
    # Its session storage, as a browser copies it.
    name = page.evaluate("sessionStorage.getItem('midigpt-studio-window')")
    copy = page.context.new_page()
    copy.add_init_script(
        f"""if (!sessionStorage.getItem("copied")) {{
          sessionStorage.setItem("copied", 1);
          sessionStorage.setItem("midigpt-studio-window", {name!r});
        }}"""
    )
    go_to(copy, server.url)
    facts(copy, "3 tracks · 8 bars · 80 notes")
    copy.locator("#rolls").focus()
    copy.keyboard.press("Control+a")
    copy.keyboard.press("Delete")
    facts(copy, "3 tracks · 8 bars · 0 notes")
    reload(copy)
    facts(copy, "3 tracks · 8 bars · 0 notes")
    reload(page)
    facts(page, "3 tracks · 8 bars · 80 notes")


def test_a_song_that_the_first_version_kept_is_still_there(browser: Browser, server: Server) -> None:
    """It had one work for all windows, in a store of the same name."""
    with page_of(browser, server.url) as page:
        open_file(page, song())
        facts(page, "3 tracks · 8 bars · 80 notes")
        page.evaluate(
            """async () => {
              const done = (request) => new Promise((resolve, reject) => {
                request.onsuccess = () => resolve(request.result);
                request.onerror = () => reject(request.error);
              });
              const database = await done(indexedDB.open("midigpt-studio"));
              const [{ work }] = await done(database.transaction("work").objectStore("work").getAll());
              database.close();
              sessionStorage.clear();
              window.stop();
              globalThis.work = work;
            }"""
        )
        page.evaluate(
            """async () => {
              const work = globalThis.work;
              await new Promise((resolve) => { indexedDB.deleteDatabase("midigpt-studio").onsuccess = resolve; });
              const open = indexedDB.open("midigpt-studio", 1);
              open.onupgradeneeded = () => open.result.createObjectStore("work").put(work, "current");
              await new Promise((resolve) => { open.onsuccess = resolve; });
              open.result.close();
            }"""
        )
        reload(page)
        facts(page, "3 tracks · 8 bars · 80 notes")


@pytest.mark.parametrize("preset", ["yellow"])
def test_eight_versions_are_shown_side_by_side(browser: Browser, preset: str) -> None:
    with running(preset) as server, page_of(browser, server.url) as page:
        open_file(page, song())
        drag_bars(page, 1, 0, 3)
        write(page, 8)
        boxes = [card.bounding_box() for card in page.locator(".card").all()]
        assert len(boxes) == 9
        assert all(box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 1280 for box in boxes)
        seen: set[Any] = set()
        for number in range(8):
            page.keyboard.press(str(number + 1))
            expect(page.locator(".card.shown b")).to_have_text(f"Version {number + 1}")
            seen.add(page.locator("#facts").text_content())
        page.keyboard.press("0")
        expect(page.locator(".card.shown b")).to_have_text("Original")
        facts(page, "3 tracks · 8 bars · 80 notes")
        assert len(seen) > 1


def test_a_track_without_notes_is_not_continued(page: Page) -> None:
    open_file(page, with_lyrics())
    expect(page.locator("#facts")).to_have_text("2 tracks · 8 bars · 16 notes")
    page.get_by_label("Continue").check()
    assert [len(prompt["bars"]) for prompt in asked(page)["tracks"]] == [4, 0]
    # Unless it is selected, or no track has any.
    page.get_by_label("Fill in").check()
    page.locator("#rolls").press("Control+a")
    page.get_by_label("Continue").check()
    page.locator("#continue-tracks").select_option("selected")
    assert [len(prompt["bars"]) for prompt in asked(page)["tracks"]] == [4, 4]
    page.locator("#continue-tracks").select_option("all")
    page.locator("#rolls").press("Delete")
    expect(page.locator("#facts")).to_have_text("2 tracks · 8 bars · 0 notes")
    assert [len(prompt["bars"]) for prompt in asked(page)["tracks"]] == [4, 4]


def in_signatures(*runs: tuple[int, int, int]) -> bytes:
    """A song of runs of bars (how many, numerator, denominator), with a note at the end of each bar."""
    midi = MidiBytes()
    signatures, notes = b"", b""
    after = 0
    for count, numerator, denominator in runs:
        bar = 480 * 4 * numerator // denominator
        signatures += midi.signature(numerator, denominator.bit_length() - 1, after)
        after = count * bar
        notes += b"".join(midi.note(60, 120, after=bar - 120) for _ in range(count))
    return midi.file(signatures, notes)


#: Keeps what is written on the ruler: text, left and right edge in pixels of the window.
KEEP_LABELS = """
  window.labels = [];
  const { clearRect, fillText } = CanvasRenderingContext2D.prototype;
  const isRuler = (pen) => pen.canvas.className === "ruler-canvas";
  CanvasRenderingContext2D.prototype.clearRect = function (...area) {
    if (isRuler(this)) window.labels = [];
    clearRect.apply(this, area);
  };
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
    if (isRuler(this)) window.labels.push([text, x, x + this.measureText(text).width]);
    fillText.call(this, text, x, y);
  };
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_ruler_has_every_signature_and_no_labels_on_one_another(
    browser: Browser, server: Server, width: int
) -> None:
    with page_of(browser, server.url, width) as page:
        page.add_init_script(KEEP_LABELS)
        reload(page)
        open_file(page, in_signatures((4, 4, 4), (6, 3, 8), (4, 7, 8), (120, 3, 4)))
        expect(page.locator("#facts")).to_have_text("1 track · 134 bars · 134 notes")
        signatures = "window.labels.map(([text]) => text).filter((text) => text.includes('/')).join(' ')"
        page.wait_for_function(f"{signatures} === '4/4 3/8 7/8 3/4'")
        for _ in range(4):
            labels = page.evaluate("window.labels")
            assert len(labels) > 6
            for (_, _, right), (_, left, _) in pairwise(sorted(labels, key=lambda label: label[1])):
                assert right + 2 <= left
            page.locator("#zoom-out").click()
