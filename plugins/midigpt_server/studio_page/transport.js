// Plays a song: the playhead, the loop, and the notes that are handed to the synthesizer shortly before they sound.

import { barStarts, notesOf, quarterAt, secondsAt } from "./model.js";
import { Synth } from "./synth.js";

// Notes are scheduled this far ahead. A hidden page's timers run once a second only.
const AHEAD_S = 0.18;
const AHEAD_HIDDEN_S = 1.6;
const TICK_MS = 40;
const START_S = 0.06;

/** Fires "change" when playing starts or ends. */
export class Transport extends EventTarget {
  playing = false;
  /** {from, to} in quarters, or null. */
  loop = null;
  #song = null;
  #silent = () => false;
  #context = null;
  #synth = null;
  #volume = 0.9;
  #notes = [];
  #at = 0; // where the playhead rests, in quarters
  #next = 0; // index of the next note to schedule
  #from = 0; // where playing started: quarter, and second of the clock
  #fromSecond = 0;
  #startedAt = 0;
  #timer = 0;

  /** What to play; `silent(track)` tells whether a track is muted. Takes effect at once, also while playing. */
  setSong(song, silent) {
    const at = this.position;
    const changed = song !== this.#song;
    this.#song = song;
    this.#silent = silent;
    if (changed) this.#notes = inOrder(song);
    if (this.playing) this.#startFrom(at);
    else this.#at = Math.min(at, barStarts(song).at(-1));
  }

  set volume(level) {
    this.#volume = level;
    if (this.#synth) this.#synth.volume = level;
  }

  /** The playhead, in quarters. */
  get position() {
    if (!this.playing) return this.#at;
    const elapsed = Math.max(0, this.#context.currentTime - this.#startedAt);
    return quarterAt(this.#song, this.#fromSecond + elapsed);
  }

  set position(quarter) {
    this.#at = Math.max(0, quarter);
    if (this.playing) this.#startFrom(this.#at);
    this.dispatchEvent(new Event("change"));
  }

  async play() {
    if (this.playing) return;
    this.#context ??= new AudioContext({ latencyHint: "interactive" });
    this.#synth ??= new Synth(this.#context);
    this.#synth.volume = this.#volume;
    // Without a sound device the clock never starts; the page must not wait for it.
    if (this.#context.state !== "running") await Promise.race([this.#context.resume(), sleep(1000)]);
    if (this.playing) return;
    this.playing = true;
    const end = this.loop?.to ?? barStarts(this.#song).at(-1);
    const start = this.loop?.from ?? 0;
    const within = this.loop ? this.#at >= start && this.#at < end : this.#at < end - 1e-6;
    this.#startFrom(within ? this.#at : start);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.dispatchEvent(new Event("change"));
  }

  pause() {
    if (!this.playing) return;
    this.#at = this.position;
    this.playing = false;
    clearInterval(this.#timer);
    this.#synth.silence();
    this.dispatchEvent(new Event("change"));
  }

  #startFrom(quarter) {
    this.#synth.silence();
    this.#from = quarter;
    this.#fromSecond = secondsAt(this.#song, quarter);
    this.#startedAt = this.#context.currentTime + START_S;
    this.#next = firstFrom(this.#notes, quarter);
    this.#tick();
  }

  #tick() {
    const now = this.#context.currentTime;
    const end = this.loop && this.#from < this.loop.to ? this.loop.to : barStarts(this.#song).at(-1);
    const endSecond = secondsAt(this.#song, end);
    const until = this.#fromSecond + (now - this.#startedAt) + (document.hidden ? AHEAD_HIDDEN_S : AHEAD_S);
    for (; this.#next < this.#notes.length; this.#next++) {
      const { note, track, index } = this.#notes[this.#next];
      if (note.quarter >= end) break;
      const second = secondsAt(this.#song, note.quarter);
      if (second > until) break;
      if (this.#silent(index)) continue;
      const last = Math.min(secondsAt(this.#song, note.quarter + note.quarters), endSecond);
      const when = Math.max(this.#startedAt + second - this.#fromSecond, now);
      this.#synth.play(track, note, when, Math.max(last - second, 0.03), panOf(index));
    }
    if (this.#fromSecond + (now - this.#startedAt) >= endSecond) {
      if (this.loop && end === this.loop.to) this.#startAgain(endSecond);
      else this.#finish();
    }
  }

  /** Back to the start of the loop without a gap: its last notes ring on. */
  #startAgain(endSecond) {
    this.#startedAt += endSecond - this.#fromSecond;
    this.#from = this.loop.from;
    this.#fromSecond = secondsAt(this.#song, this.loop.from);
    this.#next = firstFrom(this.#notes, this.loop.from);
    this.#tick();
  }

  #finish() {
    this.pause();
    this.#at = 0;
    this.dispatchEvent(new Event("change"));
  }
}

function inOrder(song) {
  const all = song.tracks.flatMap((track, index) => notesOf(song, index).map((note) => ({ note, track, index })));
  return all.sort((one, other) => one.note.quarter - other.note.quarter);
}

function firstFrom(notes, quarter) {
  let low = 0;
  let high = notes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (notes[middle].note.quarter < quarter - 1e-6) low = middle + 1;
    else high = middle;
  }
  return low;
}

function panOf(index) {
  return [0, -0.28, 0.28, -0.14, 0.14, -0.4, 0.4][index % 7];
}

function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
