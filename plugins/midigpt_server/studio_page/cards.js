// The cards of the versions, side by side: a small roll of what each wrote, and buttons to listen and to keep.

import { element, icon } from "./dom.js";
import { barStarts, notesOf } from "./model.js";

const HEIGHT = 64;
const LOW = 40; // where there are two rows of cards
const ONE_ROW = 6;

/** Fires "show", "listen", "keep" and "retry" with the number of a version; "show" and "listen" with -1: the original. */
export class Cards extends EventTarget {
  #root;
  #cards = new Map();
  #proposal = null;

  constructor(root) {
    super();
    this.#root = root;
    new ResizeObserver(() => this.#paintAll()).observe(root);
    root.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Show the versions of a proposal, null: none; `shown` is the one in the rolls, `playing` whether it sounds. */
  show(proposal, shown, playing) {
    if (proposal !== this.#proposal) {
      this.#proposal = proposal;
      this.#cards.clear();
      if (proposal) {
        this.#add(-1, "Original");
        for (const { number } of proposal.versions) this.#add(number, `Version ${number + 1}`);
      }
      this.#root.classList.toggle("many", this.#cards.size > ONE_ROW);
      this.#root.replaceChildren(...[...this.#cards.values()].map(({ card }) => card));
    }
    if (!proposal) return;
    this.#update(-1, { state: "original", song: proposal.plan.base, share: 1 }, shown, playing);
    for (const version of proposal.versions) this.#update(version.number, version, shown, playing);
  }

  #add(number, title) {
    const tell = (name) => () => this.dispatchEvent(new CustomEvent(name, { detail: number }));
    const canvas = element("canvas", { "aria-hidden": "true" });
    const state = element("span", { class: "card-state" });
    const bar = element("i");
    const listen = element("button", { class: "button square quiet listen", type: "button", onclick: tell("listen") }, icon("play"));
    const keep = element(
      "button",
      { class: "button small keep", type: "button", "aria-label": `Keep ${title.toLowerCase()}`, onclick: tell("keep") },
      "Keep",
    );
    const retry = element("button", { class: "button small", type: "button", hidden: true, onclick: tell("retry") }, "Try again");
    const face = element(
      "button",
      { class: "card-face", type: "button", role: "radio", "data-number": number, onclick: tell("show") },
      element("span", { class: "card-head" }, element("kbd", {}, String(number + 1)), element("b", {}, title)),
      canvas,
      element("span", { class: "card-progress", "aria-hidden": "true" }, bar),
    );
    const buttons = element("div", { class: "card-buttons" }, listen, state, number < 0 ? null : retry, number < 0 ? null : keep);
    const card = element("article", { class: number < 0 ? "card original" : "card" }, face, buttons);
    this.#cards.set(number, { card, face, canvas, state, bar, listen, keep, retry, title, drawn: null, width: 0 });
  }

  #update(number, version, shown, playing) {
    const one = this.#cards.get(number);
    const chosen = shown === number;
    one.card.classList.toggle("shown", chosen);
    one.card.dataset.state = version.state;
    one.face.setAttribute("aria-checked", String(chosen));
    one.face.tabIndex = chosen ? 0 : -1;
    const words = spelledState(version);
    one.state.textContent = words;
    one.state.title = version.message || "";
    one.face.setAttribute("aria-label", `${one.title}, ${version.message || words}`);
    one.bar.style.width = `${Math.round(100 * version.share)}%`;
    const sounds = chosen && playing;
    one.listen.setAttribute("aria-label", sounds ? "Pause" : `Listen to ${one.title.toLowerCase()}`);
    one.listen.querySelector("use").setAttribute("href", sounds ? "#icon-pause" : "#icon-play");
    const usable = version.notes > 0 && ["done", "stopped"].includes(version.state);
    one.keep.hidden = !usable;
    one.retry.hidden = !["failed"].includes(version.state);
    if (one.drawn !== version.song) {
      one.drawn = version.song;
      this.#paint(number);
    }
  }

  #key(event) {
    const face = event.target.closest(".card-face");
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!face || !step) return;
    const numbers = [...this.#cards.keys()];
    const at = numbers.indexOf(Number(face.dataset.number));
    const next = numbers[(at + step + numbers.length) % numbers.length];
    this.dispatchEvent(new CustomEvent("show", { detail: next }));
    this.#cards.get(next).face.focus();
    event.preventDefault();
    event.stopPropagation();
  }

  recolour() {
    this.#paintAll();
  }

  #paintAll() {
    for (const number of this.#cards.keys()) this.#paint(number);
  }

  #paint(number) {
    const { canvas, drawn: song, face } = this.#cards.get(number);
    const width = face.clientWidth - 20;
    const height = this.#cards.size > ONE_ROW ? LOW : HEIGHT;
    if (!song || width <= 0) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    const { targets } = this.#proposal.plan;
    const [first, last] = targets.extent;
    const starts = barStarts(song);
    const scale = width / (starts[last + 1] - starts[first]);
    pen.fillStyle = style.getPropertyValue("--bar-line");
    for (let bar = first + 1; bar <= last; bar++) {
      pen.fillRect(Math.round((starts[bar] - starts[first]) * scale), 0, 1, height);
    }
    const tracks = targets.tracks();
    const lane = height / tracks.length;
    pen.fillStyle = style.getPropertyValue(number < 0 ? "--text-3" : "--fresh");
    tracks.forEach((track, row) => {
      // All versions on one scale, so that they can be compared.
      const [low, high] = this.#pitches(track);
      const step = (lane - 6) / Math.max(high - low + 1, 8);
      for (const note of notesOf(song, track)) {
        if (!targets.has(track, note.bar)) continue;
        const y = row * lane + 3 + (high - note.pitch) * step;
        const wide = Math.max(note.quarters * scale - 0.5, 1.5);
        pen.fillRect((note.quarter - starts[first]) * scale, y, wide, Math.min(Math.max(step, 1.5), 5));
      }
    });
  }

  #pitches(track) {
    const { versions, plan } = this.#proposal;
    let low = 127;
    let high = 0;
    for (const song of [plan.base, ...versions.map((version) => version.song)]) {
      for (const { pitch, bar } of notesOf(song, track)) {
        if (!plan.targets.has(track, bar)) continue;
        low = Math.min(low, pitch);
        high = Math.max(high, pitch);
      }
    }
    return low > high ? [60, 72] : [low, high];
  }
}

function spelledState({ state, notes, message }) {
  const counted = notes === 1 ? "1 note" : `${notes} notes`;
  return {
    original: "",
    queued: "queued",
    waiting: "waiting",
    writing: notes ? counted : "writing …",
    done: counted,
    stopped: notes ? `${counted}, stopped` : "stopped",
    failed: "failed",
  }[state];
}
