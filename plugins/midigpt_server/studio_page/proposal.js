// Candidates: several versions of the bars that are written, as they come from the server.

import { cancel, generate } from "./api.js";
import { withCells } from "./model.js";
import { inSongTerms } from "./wording.js";

// A browser keeps six connections to a server open: some must be left for other requests.
const STREAMS = 4;
const SEEDS = 2 ** 31;

/**
 * The versions of one plan. Fires "change" whenever one of them does. A version is {number, seed, state, song, notes,
 * share, message}: state is queued, waiting (for the server), writing, done, stopped or failed; song has the notes so
 * far; share tells how many of the bars have notes, from 0 to 1.
 */
export class Proposal extends EventTarget {
  plan;
  versions;
  #connection;
  #stop = new AbortController();
  #running = 0;
  #requests = new Map();

  constructor(plan, versions, connection) {
    super();
    this.plan = plan;
    this.versions = versions;
    this.#connection = connection;
  }

  /** `count` versions from the seed on; null: from a random one. */
  static of(plan, count, seed, connection) {
    const first = seed ?? Math.floor(Math.random() * (SEEDS - count));
    const versions = Array.from({ length: count }, (_, number) => ({
      ...blank(plan),
      number,
      seed: (first + number) % SEEDS,
    }));
    return new Proposal(plan, versions, connection);
  }

  get running() {
    return this.versions.some(({ state }) => ["queued", "waiting", "writing"].includes(state));
  }

  /** Write the versions that are not written yet. */
  start() {
    const next = () => this.versions.find(({ state }) => state === "queued");
    while (this.#running < STREAMS && next() && !this.#stop.signal.aborted) {
      this.#running++;
      this.#write(next()).finally(() => {
        this.#running--;
        this.start();
      });
    }
  }

  /** End the writing; bars that are complete are kept. */
  cancel() {
    for (const version of this.versions) {
      if (version.state === "queued") this.#set(version, { state: "stopped", message: "Not started" });
    }
    for (const [version, { id, abort }] of this.#requests) {
      const leave = () => abort.abort(new DOMException("cancelled", "AbortError"));
      if (version.state === "waiting") leave();
      // A request that the server no longer knows ends by itself.
      else cancel(id).catch(leave);
    }
  }

  /** Leave everything: nothing is told any more. */
  leave() {
    this.#stop.abort(new DOMException("left", "AbortError"));
  }

  /** Try a version that failed once more. */
  retry(version) {
    this.#set(version, { ...blank(this.plan), state: "queued", message: "" });
    this.start();
  }

  async #write(version) {
    const id = crypto.randomUUID?.() ?? `studio-${Date.now()}-${version.number}`;
    const abort = new AbortController();
    const signal = AbortSignal.any([abort.signal, this.#stop.signal]);
    this.#requests.set(version, { id, abort });
    this.#set(version, { state: "writing", message: "" });
    try {
      await this.#connection.persist(() => this.#stream(version, id, signal), {
        signal,
        waiting: (message) => this.#set(version, { ...blank(this.plan), state: "waiting", message }),
      });
    } catch (error) {
      if (error.name === "AbortError") this.#set(version, { state: "stopped", message: "Stopped" });
      else this.#set(version, { state: "failed", message: inSongTerms(error.message, this.plan.base, this.plan.from) });
    } finally {
      this.#requests.delete(version);
    }
  }

  async #stream(version, id, signal) {
    const { request } = this.plan.body;
    const config = { ...request.config, seed: version.seed };
    const arrived = new Arrived();
    const body = { ...this.plan.body, request: { ...request, config }, request_id: id };
    this.#set(version, { ...blank(this.plan), state: "writing", message: "" });
    for await (const frame of generate(body, signal)) {
      if (frame.type === "notes") {
        arrived.add(frame);
        this.#set(version, { state: "writing", ...this.#withNotes(arrived.cells(this.plan.from)) });
      } else if (frame.type === "error") {
        throw new Error(frame.error);
      } else if (frame.response) {
        const { tracks } = frame.response.score;
        const cells = this.#targets().map(([track, bar]) => ({
          track,
          bar,
          notes: tracks[track].bars[bar - this.plan.from].notes,
        }));
        if (frame.type === "done") {
          this.#set(version, { ...this.#withNotes(cells), share: 1, state: "done", message: "" });
        } else {
          this.#set(version, { ...this.#stopped(cells), state: "stopped", message: "Stopped early" });
        }
      }
    }
  }

  #targets() {
    return this.plan.targets.entries().flatMap(([track, bars]) => bars.map((bar) => [track, bar]));
  }

  /** The song with these notes in the bars that are written, of [{track, bar, notes}]. */
  #withNotes(cells) {
    const song = withCells(clearedOf(this.plan), cells);
    const filled = cells.filter(({ notes }) => notes.length);
    const notes = filled.reduce((sum, cell) => sum + cell.notes.length, 0);
    return { song, notes, share: filled.length / this.#targets().length };
  }

  /** The song with the bars that were complete; the others have their old notes. */
  #stopped(cells) {
    const { base } = this.plan;
    const same = ({ track, bar, notes }) => JSON.stringify(notes) === JSON.stringify(base.tracks[track].cells[bar]);
    const complete = cells.filter((cell) => !same(cell));
    return { ...this.#withNotes(complete), song: withCells(base, complete) };
  }

  #set(version, fields) {
    if (this.#stop.signal.aborted) return;
    Object.assign(version, fields);
    this.dispatchEvent(new Event("change"));
  }
}

function blank(plan) {
  return { state: "queued", song: clearedOf(plan), notes: 0, share: 0, message: "" };
}

const cleared = new WeakMap();

/** The song with the bars that are written empty. */
function clearedOf(plan) {
  if (!cleared.has(plan)) {
    const cells = plan.targets.entries().flatMap(([track, bars]) => bars.map((bar) => ({ track, bar, notes: [] })));
    cleared.set(plan, withCells(plan.base, cells));
  }
  return cleared.get(plan);
}

/** The notes of a stream. What an attempt wrote is dropped when its step begins again. */
class Arrived {
  #settled = [];
  #step = [];
  #attempt = 1;
  #tokens = 0;

  add({ notes, progress }) {
    if (progress.attempt > this.#attempt) {
      this.#step = [];
    } else if (progress.attempt < this.#attempt || progress.step_generated_tokens < this.#tokens) {
      this.#settled.push(...this.#step);
      this.#step = [];
    }
    this.#attempt = progress.attempt;
    this.#tokens = progress.step_generated_tokens;
    this.#step.push(...notes);
  }

  /** [{track, bar, notes}]; bar 0 of the stream is bar `from` of the song. */
  cells(from) {
    const cells = new Map();
    for (const { track, bar, ...note } of [...this.#settled, ...this.#step]) {
      const key = `${track}:${bar}`;
      if (!cells.has(key)) cells.set(key, { track, bar: from + bar, notes: [] });
      cells.get(key).notes.push(note);
    }
    return [...cells.values()];
  }
}
