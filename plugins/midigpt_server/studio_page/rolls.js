// The piano rolls of all tracks: draws them, and turns the pointer and the keys into a selection of bars.

import { element, icon } from "./dom.js";
import { FAMILIES, instrumentName, pitchName, trackNames } from "./instruments.js";
import { barAt, barStarts, notesOf } from "./model.js";
import { Selection } from "./selection.js";

const LEAST_PER_QUARTER = 2;
const MOST_PER_QUARTER = 160;
const ZOOM = 1.35;
const FIT_BARS = 16;
const TRACK_COLOURS = 8;
const LEAST_PITCHES = 14;
const RULER_HEIGHT = 30;
// In pixels: left of a bar's number, between it and the time signature, and between two labels.
const LABEL_INDENT = 5;
const SIGNATURE_GAP = 6;
const LABEL_GAP = 4;
// Every so many bars have a number: the fewest that are so many pixels apart.
const STEPS = [1, 2, 4, 8, 16, 32, 64, 128];
const LEAST_STEP = 34;
const LEAST_LANE = 76;
const MOST_LANE = 148;

/**
 * Fires "select" with the selection, "seek" with a quarter, "zoom", "locked" where the selection cannot change now, and
 * "track" with {action, track, value}: action is mute, solo, remove or program.
 */
export class Rolls extends EventTarget {
  selection = new Selection();
  /** [track, bar] of the keyboard's cursor. */
  cursor = [0, 0];
  /** Whether the pointer adds to the selection, as it does with Ctrl held: fingers have no such key. */
  adding = false;
  #root;
  #content = element("div", { class: "rolls-content", role: "presentation" });
  #ruler = element("canvas", { class: "ruler-canvas", "aria-hidden": "true" });
  #playhead = element("div", { class: "playhead", "aria-hidden": "true" });
  #cell = element("div", { class: "cursor", role: "gridcell", id: "cursor-cell" });
  #rows = [];
  #perQuarter = 24;
  #view = null;
  #colours = null;
  #drawing = 0;
  #anchor = [0, 0];
  #headers = "";

  constructor(root) {
    super();
    this.#root = root;
    root.append(this.#content);
    root.addEventListener("scroll", () => this.#draw(), { passive: true });
    root.addEventListener("keydown", (event) => this.#key(event));
    // The cursor of the keyboard is shown while the keyboard is used.
    root.addEventListener("keydown", () => root.classList.remove("by-pointer"), { capture: true });
    root.addEventListener("blur", () => root.classList.remove("by-pointer"));
    root.addEventListener("focus", () => this.#placeCursor());
    root.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    new ResizeObserver(() => this.#view && this.#layOut()).observe(root);
    this.#drag();
  }

  /**
   * Show a song. `view` has song; targets: a Selection of what is being written, or null; muted(track), soloed(track),
   * audible(track).
   */
  show(view) {
    const first = this.#view === null || (this.#view.song.tracks.length === 0 && view.song.tracks.length > 0);
    this.#view = view;
    this.selection = this.selection.within(view.song);
    this.cursor = [
      Math.min(this.cursor[0], Math.max(view.song.tracks.length - 1, 0)),
      Math.min(this.cursor[1], view.song.bars.length - 1),
    ];
    this.#layOut();
    if (first) this.fit();
  }

  setSelection(selection) {
    this.selection = selection;
    this.#placeCursor();
    this.#draw();
    this.dispatchEvent(new CustomEvent("select", { detail: selection }));
  }

  /** Show about the first sixteen bars, all of them if there are fewer. */
  fit() {
    if (this.#root.hidden) return;
    const starts = barStarts(this.#view.song);
    const quarters = starts[Math.min(FIT_BARS, starts.length - 1)];
    this.#zoomTo((this.#laneWidth() - 8) / quarters, 0);
  }

  zoom(steps) {
    this.#zoomTo(this.#perQuarter * ZOOM ** steps, this.#laneWidth() / 2);
  }

  /** Colours have changed. */
  recolour() {
    this.#colours = null;
    this.#draw();
  }

  /** Move the playhead; `follow`: keep it in sight. */
  setPlayhead(quarter, follow) {
    const x = quarter * this.#perQuarter;
    this.#playhead.style.transform = `translateX(${x}px)`;
    if (!follow) return;
    const { scrollLeft } = this.#root;
    const width = this.#laneWidth();
    if (x < scrollLeft || x > scrollLeft + width - 24) this.#root.scrollLeft = Math.max(0, x - 24);
  }

  /** Scroll so that a bar is in sight, and a track if it is given. */
  reveal(bar, track = null) {
    if (track !== null) this.#rows[track].row.scrollIntoView({ block: "nearest" });
    const x = barStarts(this.#view.song)[bar] * this.#perQuarter;
    const { scrollLeft } = this.#root;
    if (x < scrollLeft || x > scrollLeft + this.#laneWidth() - 40) this.#root.scrollLeft = Math.max(0, x - 40);
  }

  // Layout.

  #layOut() {
    const { song, muted, soloed } = this.#view;
    const width = barStarts(song).at(-1) * this.#perQuarter;
    this.#content.style.setProperty("--lane", `${Math.ceil(width) + 1}px`);
    const headers = JSON.stringify(
      song.tracks.map((track, index) => [
        track.name,
        track.program,
        track.drum,
        track.ofFile,
        muted(index),
        soloed(index),
        this.#view.locked,
      ]),
    );
    if (headers !== this.#headers) {
      this.#headers = headers;
      const focused = document.activeElement?.dataset?.focus;
      this.#rows = song.tracks.map((track, index) => this.#row(track, index));
      const ruler = element(
        "div",
        { class: "ruler", role: "presentation" },
        element("div", { class: "corner" }),
        element("div", { class: "lane-ruler" }, this.#ruler),
      );
      this.#content.replaceChildren(ruler, ...this.#rows.map(({ row }) => row), this.#playhead);
      // A list that is built again takes the focus along.
      if (focused) this.#content.querySelector(`[data-focus="${focused}"]`)?.focus();
    }
    const room = (this.#root.clientHeight - RULER_HEIGHT - 2) / Math.max(song.tracks.length, 1);
    this.#content.style.setProperty("--lane-height", `${clampBetween(Math.floor(room), LEAST_LANE, MOST_LANE)}px`);
    this.#root.setAttribute("aria-rowcount", song.tracks.length);
    this.#root.setAttribute("aria-colcount", song.bars.length);
    this.#placeCursor();
    this.#draw();
  }

  #row(track, index) {
    const tell = (action, value) =>
      this.dispatchEvent(new CustomEvent("track", { detail: { action, track: index, value } }));
    const muted = this.#view.muted(index);
    const soloed = this.#view.soloed(index);
    const name = trackNames(this.#view.song.tracks)[index];
    const canvas = element("canvas", { "aria-hidden": "true" });
    const lane = element("div", { class: "lane", role: "presentation" }, canvas);
    const pick = element(
      "button",
      {
        class: "track-name",
        title: `Select all bars of ${name}`,
        "data-focus": `pick-${index}`,
        onclick: (event) => this.#pick(index, this.#adds(event)),
      },
      name,
    );
    const toggle = (action, letter, word, on) =>
      element(
        "button",
        {
          class: `toggle ${action}`,
          "aria-pressed": String(on),
          "aria-label": `${word} ${name}`,
          title: word,
          "data-focus": `${action}-${index}`,
          onclick: () => tell(action),
        },
        letter,
      );
    const head = element(
      "div",
      { class: "track-head", role: "rowheader" },
      element("span", { class: `swatch colour-${index % TRACK_COLOURS}`, "aria-hidden": "true" }),
      pick,
      this.#instrument(track, index, name, tell),
      element(
        "span",
        { class: "track-buttons" },
        toggle("mute", "M", "Mute", muted),
        toggle("solo", "S", "Solo", soloed),
        track.ofFile || this.#view.locked
          ? null
          : element(
              "button",
              {
                class: "toggle",
                "aria-label": `Remove ${name}`,
                title: "Remove the track",
                "data-focus": `remove-${index}`,
                onclick: () => tell("remove"),
              },
              icon("close"),
            ),
      ),
    );
    const row = element("div", { class: "row", role: "row", "aria-rowindex": index + 1, "aria-label": name }, head, lane);
    return { row, lane, canvas };
  }

  #instrument(track, index, name, tell) {
    if (track.drum || this.#view.locked) return element("span", { class: "instrument" }, instrumentName(track));
    const select = element("select", {
      class: "instrument",
      "aria-label": `Instrument of ${name}`,
      "data-focus": `program-${index}`,
      onchange: () => tell("program", Number(select.value)),
    });
    select.append(...instrumentOptions());
    select.value = String(track.program);
    return select;
  }

  #laneWidth() {
    const head = this.#content.querySelector(".corner")?.offsetWidth ?? 0;
    return Math.max(this.#root.clientWidth - head, 40);
  }

  #zoomTo(perQuarter, around) {
    const quarter = (this.#root.scrollLeft + around) / this.#perQuarter;
    this.#perQuarter = Math.min(Math.max(perQuarter, LEAST_PER_QUARTER), MOST_PER_QUARTER);
    this.#layOut();
    this.#root.scrollLeft = quarter * this.#perQuarter - around;
    this.dispatchEvent(new Event("zoom"));
  }

  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const around = event.clientX - this.#content.querySelector(".lane-ruler").getBoundingClientRect().left;
    this.#zoomTo(this.#perQuarter * Math.exp(-event.deltaY / 300), Math.max(0, around - this.#root.scrollLeft));
  }

  // Pointer.

  #drag() {
    let kind = null;
    // The pointer that drags. Further fingers do nothing until it is lifted.
    let pointer = null;
    let before = null;
    let chosen = true;
    // What a finger that turns out to scroll the page takes back.
    let selected = null;
    const place = (event) => {
      const lane = this.#content.querySelector(".lane, .lane-ruler");
      const quarter = (event.clientX - lane.getBoundingClientRect().left) / this.#perQuarter;
      return Math.min(Math.max(quarter, 0), barStarts(this.#view.song).at(-1));
    };
    const cellAt = (event) => {
      const bounds = this.#rows.map(({ row }) => row.getBoundingClientRect());
      let track = bounds.findIndex(({ bottom }) => event.clientY < bottom);
      if (track < 0) track = bounds.length - 1;
      return [track, barAt(this.#view.song, place(event))];
    };
    this.#content.addEventListener("pointerdown", (event) => {
      if (kind || event.button !== 0 || this.#view.song.bars.length === 0) return;
      if (event.target.closest(".lane-ruler")) {
        kind = "seek";
        // A finger may scroll instead.
        if (event.pointerType !== "touch") this.dispatchEvent(new CustomEvent("seek", { detail: place(event) }));
      } else if (event.target.closest(".lane") && !this.#view.locked) {
        kind = "select";
        selected = this.selection;
        const cell = cellAt(event);
        if (!event.shiftKey) this.#anchor = cell;
        const adds = this.#adds(event);
        before = adds ? new Selection(this.selection) : new Selection();
        chosen = !(adds && this.selection.has(...cell));
        this.#extend(before, cell, chosen);
      } else {
        return;
      }
      pointer = event.pointerId;
      this.#root.classList.add("by-pointer");
      // Focus goes to the rolls, whose keys continue what the pointer began.
      this.#root.focus({ preventScroll: true });
      event.preventDefault();
      this.#content.setPointerCapture(event.pointerId);
    });
    const listen = (type, act) =>
      this.#content.addEventListener(type, (event) => event.pointerId === pointer && act(event));
    listen("pointermove", (event) => {
      // A finger that moves may be about to scroll.
      const seeks = kind === "seek" && event.pointerType !== "touch";
      if (seeks) this.dispatchEvent(new CustomEvent("seek", { detail: place(event) }));
      if (kind !== "select" || this.#view.locked) return;
      this.#scrollAtEdge(event);
      this.#extend(before, cellAt(event), chosen);
    });
    listen("pointerup", (event) => {
      if (kind === "seek") this.dispatchEvent(new CustomEvent("seek", { detail: place(event) }));
    });
    listen("pointercancel", () => {
      if (kind === "select") this.setSelection(selected);
    });
    // After either of them.
    listen("lostpointercapture", () => {
      kind = pointer = null;
    });
  }

  #adds(event) {
    return event.ctrlKey || event.metaKey || this.adding;
  }

  /** Choose all bars of a track; `adds`: besides the others, or take them out if all are chosen. */
  #pick(track, adds) {
    if (this.#view.locked) return this.dispatchEvent(new Event("locked"));
    const last = this.#view.song.bars.length - 1;
    const next = adds ? new Selection(this.selection) : new Selection();
    const whole = this.#view.song.bars.every((_, bar) => next.has(track, bar));
    next.setRectangle([track, 0], [track, last], !whole);
    this.setSelection(next);
  }

  #extend(before, cell, chosen) {
    const next = new Selection(before);
    next.setRectangle(this.#anchor, cell, chosen);
    this.cursor = cell;
    this.setSelection(next);
  }

  #scrollAtEdge(event) {
    const { right } = this.#root.getBoundingClientRect();
    const left = right - this.#laneWidth();
    if (event.clientX > right - 12) this.#root.scrollLeft += 12;
    else if (event.clientX < left + 12) this.#root.scrollLeft -= 12;
  }

  // Keys.

  #key(event) {
    if (event.target !== this.#root || !this.#view.song.tracks.length) return;
    const [track, bar] = this.cursor;
    const lastBar = this.#view.song.bars.length - 1;
    const lastTrack = this.#view.song.tracks.length - 1;
    const command = event.ctrlKey || event.metaKey;
    const moves = {
      ArrowLeft: [track, bar - 1],
      ArrowRight: [track, bar + 1],
      ArrowUp: [track - 1, bar],
      ArrowDown: [track + 1, bar],
      Home: [track, 0],
      End: [track, lastBar],
      PageUp: [track, bar - 4],
      PageDown: [track, bar + 4],
    };
    if (event.key in moves && !event.altKey) {
      const [toTrack, toBar] = moves[event.key];
      this.cursor = [clamp(toTrack, lastTrack), clamp(toBar, lastBar)];
      this.reveal(this.cursor[1], this.cursor[0]);
      if (event.shiftKey && !this.#view.locked) {
        this.setSelection(Selection.rectangle(this.#anchor, this.cursor));
      } else {
        this.#anchor = this.cursor;
        this.#placeCursor();
      }
    } else if (event.key === "Enter" && !command && !this.#view.locked) {
      const next = new Selection(this.selection);
      next.set(track, bar, !next.has(track, bar));
      this.#anchor = this.cursor;
      this.setSelection(next);
    } else if (event.key.toLowerCase() === "a" && command && !this.#view.locked) {
      this.setSelection(Selection.rectangle([0, 0], [lastTrack, lastBar]));
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** The cell under the cursor, which assistive technology reads as the active one. */
  #placeCursor() {
    const { song } = this.#view;
    const [track, bar] = this.cursor;
    const row = this.#rows[track];
    if (!row) {
      this.#cell.remove();
      this.#root.removeAttribute("aria-activedescendant");
      return;
    }
    const starts = barStarts(song);
    this.#cell.style.left = `${starts[bar] * this.#perQuarter}px`;
    this.#cell.style.width = `${(starts[bar + 1] - starts[bar]) * this.#perQuarter}px`;
    const notes = song.tracks[track].cells[bar].length;
    const chosen = this.selection.has(track, bar);
    this.#cell.setAttribute("aria-selected", String(chosen));
    this.#cell.setAttribute("aria-colindex", bar + 1);
    const name = trackNames(song.tracks)[track];
    this.#cell.setAttribute(
      "aria-label",
      `${name}, bar ${bar + 1}, ${notes === 1 ? "1 note" : `${notes || "no"} notes`}${chosen ? ", selected" : ""}`,
    );
    if (this.#cell.parentElement !== row.lane) row.lane.append(this.#cell);
    this.#root.setAttribute("aria-activedescendant", this.#cell.id);
  }

  // Drawing.

  #draw() {
    this.#drawing ||= requestAnimationFrame(() => {
      this.#drawing = 0;
      if (this.#view) this.#paint();
    });
  }

  #paint() {
    this.#colours ??= readColours(this.#root);
    const width = this.#laneWidth();
    this.#paintRuler(width);
    const { top, bottom } = this.#root.getBoundingClientRect();
    this.#rows.forEach((row, track) => {
      const bounds = row.lane.getBoundingClientRect();
      if (bounds.bottom < top || bounds.top > bottom) return;
      this.#paintLane(row.canvas, track, width, bounds.height);
    });
  }

  #visibleBars(width) {
    const { song } = this.#view;
    const from = this.#root.scrollLeft / this.#perQuarter;
    return [barAt(song, from), barAt(song, from + width / this.#perQuarter)];
  }

  #paintRuler(width) {
    const { song, loop } = this.#view;
    const colours = this.#colours;
    const starts = barStarts(song);
    const pen = sized(this.#ruler, width, RULER_HEIGHT);
    pen.translate(-this.#root.scrollLeft, 0);
    const scale = this.#perQuarter;
    if (loop) {
      pen.fillStyle = colours.loop;
      pen.fillRect(loop.from * scale, RULER_HEIGHT - 5, (loop.to - loop.from) * scale, 5);
    }
    pen.font = `600 11px ${colours.font}`;
    pen.textBaseline = "middle";
    const [first, last] = this.#visibleBars(width);
    const labels = this.#labels(pen, first, last, starts);
    for (let bar = first; bar <= last; bar++) {
      const x = starts[bar] * scale;
      const label = labels.get(bar);
      pen.fillStyle = colours.line;
      pen.fillRect(Math.round(x), label ? 6 : 20, 1, RULER_HEIGHT);
      if (!label) continue;
      pen.fillStyle = colours.text;
      pen.fillText(label.number, x + LABEL_INDENT, 13);
      if (!label.signature) continue;
      pen.fillStyle = colours.faint;
      pen.fillText(label.signature, x + LABEL_INDENT + label.numberWidth + SIGNATURE_GAP, 13);
    }
  }

  /** Bar -> its number and, where it changes, its time signature: as many as have room, changes first. */
  #labels(pen, first, last, starts) {
    const { bars } = this.#view.song;
    const scale = this.#perQuarter;
    const every = ({ quarters }) => STEPS.find((step) => step * quarters * scale >= LEAST_STEP) ?? STEPS.at(-1);
    const labels = new Map();
    const add = (bar, signature) => {
      const number = String(bar + 1);
      const numberWidth = pen.measureText(number).width;
      const width = numberWidth + (signature ? SIGNATURE_GAP + pen.measureText(signature).width : 0);
      const from = starts[bar] * scale;
      labels.set(bar, { number, numberWidth, signature, from, to: from + LABEL_INDENT + width + LABEL_GAP });
    };
    // Signatures leave out the numbers that are in their way, and no earlier signature.
    let free = -Infinity;
    for (let bar = first; bar <= last; bar++) {
      const [one, before] = [bars[bar], bars[bar - 1]];
      if (before && before.numerator === one.numerator && before.denominator === one.denominator) continue;
      if (starts[bar] * scale < free) continue;
      add(bar, `${one.numerator}/${one.denominator}`);
      free = labels.get(bar).to;
    }
    const signed = [...labels.values()];
    for (let bar = first; bar <= last; bar++) {
      if (labels.has(bar) || bar % every(bars[bar])) continue;
      add(bar, "");
      const { from, to } = labels.get(bar);
      if (signed.some((other) => from < other.to && other.from < to)) labels.delete(bar);
    }
    return labels;
  }

  #paintLane(canvas, track, width, height) {
    const { song, targets, audible } = this.#view;
    const colours = this.#colours;
    const starts = barStarts(song);
    const scale = this.#perQuarter;
    const pen = sized(canvas, width, height);
    pen.translate(-this.#root.scrollLeft, 0);
    const [first, last] = this.#visibleBars(width);
    const [low, high] = pitchesOf(song, track);
    const step = (height - 12) / (high - low + 1);
    const yOf = (pitch) => 6 + (high - pitch) * step;

    for (let bar = first; bar <= last; bar++) {
      const x = starts[bar] * scale;
      const wide = (starts[bar + 1] - starts[bar]) * scale;
      if (targets?.has(track, bar)) {
        pen.fillStyle = colours.freshSoft;
        pen.fillRect(x, 0, wide, height);
      } else if (this.selection.has(track, bar)) {
        pen.fillStyle = colours.chosen;
        pen.fillRect(x, 0, wide, height);
      }
    }
    if (!song.tracks[track].drum && step > 1.2) {
      pen.fillStyle = colours.octave;
      for (let pitch = Math.ceil(low / 12) * 12; pitch <= high; pitch += 12) {
        pen.fillRect(starts[first] * scale, Math.round(yOf(pitch) + step), (starts[last + 1] - starts[first]) * scale, 1);
      }
    }
    for (let bar = first; bar <= last + 1; bar++) {
      pen.fillStyle = colours.line;
      pen.fillRect(Math.round(starts[bar] * scale), 0, 1, height);
      if (bar > last || scale < 15) continue;
      const beat = 4 / song.bars[bar].denominator;
      pen.fillStyle = colours.beat;
      for (let quarter = starts[bar] + beat; quarter < starts[bar + 1] - 1e-6; quarter += beat) {
        pen.fillRect(Math.round(quarter * scale), 0, 1, height);
      }
    }
    this.#outline(pen, track, first, last, height);

    const own = colours.tracks[track % TRACK_COLOURS];
    const thick = clampBetween(step - (step > 4 ? 1 : 0), 2, 9);
    const quiet = audible(track) ? 1 : 0.35;
    for (const note of notesOf(song, track)) {
      if (note.bar > last) break;
      const x = note.quarter * scale;
      const wide = Math.max(note.quarters * scale - 1, 2.5);
      if (x + wide < starts[first] * scale) continue;
      pen.fillStyle = targets?.has(track, note.bar) ? colours.fresh : own;
      pen.globalAlpha = quiet * (0.5 + (0.5 * note.velocity) / 127);
      pen.beginPath();
      pen.roundRect(x + 0.5, yOf(note.pitch) + (step - thick) / 2, wide, thick, Math.min(2.5, thick / 2, wide / 2));
      pen.fill();
    }
    pen.globalAlpha = 1;
    if (this.#perQuarter > 8 && notesOf(song, track).length) this.#pitchLabels(pen, track, low, high, height);
  }

  /** A frame around each run of chosen bars, and of bars that are written. */
  #outline(pen, track, first, last, height) {
    const { song, targets } = this.#view;
    const starts = barStarts(song);
    const frames = [
      [(bar) => targets?.has(track, bar) ?? false, this.#colours.fresh],
      [(bar) => !targets && this.selection.has(track, bar), this.#colours.chosenLine],
    ];
    for (const [within, colour] of frames) {
      pen.fillStyle = colour;
      for (let bar = first; bar <= last; bar++) {
        if (!within(bar)) continue;
        const x = starts[bar] * this.#perQuarter;
        const end = starts[bar + 1] * this.#perQuarter;
        pen.fillRect(x, 0, end - x, 2);
        pen.fillRect(x, height - 2, end - x, 2);
        if (!within(bar - 1)) pen.fillRect(x, 0, 2, height);
        if (!within(bar + 1)) pen.fillRect(end - 2, 0, 2, height);
      }
    }
  }

  #pitchLabels(pen, track, low, high, height) {
    if (this.#view.song.tracks[track].drum || height < 60) return;
    pen.font = `500 9px ${this.#colours.font}`;
    pen.fillStyle = this.#colours.faint;
    pen.textBaseline = "middle";
    const x = this.#root.scrollLeft + 4;
    pen.fillText(pitchName(high), x, 9);
    pen.fillText(pitchName(low), x, height - 9);
  }
}

let options = null;

/** All instruments by family, as options of a select. */
export function instrumentOptions() {
  options ??= FAMILIES.map(([family, names], at) =>
    element(
      "optgroup",
      { label: family },
      ...names.map((name, index) => element("option", { value: 8 * at + index }, name)),
    ),
  );
  return options.map((group) => group.cloneNode(true));
}

/** The pitches that a lane shows, [lowest, highest], with room around them. */
function pitchesOf(song, track) {
  let low = 127;
  let high = 0;
  for (const { pitch } of notesOf(song, track)) {
    if (pitch < low) low = pitch;
    if (pitch > high) high = pitch;
  }
  if (low > high) [low, high] = [54, 66];
  const missing = Math.max(LEAST_PITCHES - (high - low + 1), 2);
  low = Math.max(0, low - Math.ceil(missing / 2));
  high = Math.min(127, high + Math.floor(missing / 2));
  return [low, high];
}

function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

function readColours(root) {
  const style = getComputedStyle(root);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    font: style.fontFamily,
    text: of("text-2"),
    faint: of("text-3"),
    line: of("bar-line"),
    beat: of("beat-line"),
    octave: of("octave-line"),
    chosen: of("chosen"),
    chosenLine: of("chosen-line"),
    fresh: of("fresh"),
    freshSoft: of("fresh-soft"),
    loop: of("chosen-line"),
    tracks: Array.from({ length: TRACK_COLOURS }, (_, index) => of(`track-${index}`)),
  };
}

function clamp(value, most) {
  return Math.min(Math.max(value, 0), most);
}

function clampBetween(value, least, most) {
  return Math.min(Math.max(value, least), most);
}
