// Every step of the work, to go back and forth: songs with the words for what led to them.

const MOST_STEPS = 200;

export class History {
  #past = [];
  #future = [];

  constructor(song) {
    this.present = { song, label: "" };
  }

  get song() {
    return this.present.song;
  }

  /** What undo would take back, or null. */
  get undoable() {
    return this.#past.length ? this.present.label : null;
  }

  /** What redo would do again, or null. */
  get redoable() {
    return this.#future.at(-1)?.label ?? null;
  }

  /** Take a step to `song`; what was undone before can no longer be done again. */
  step(song, label) {
    this.#past.push(this.present);
    if (this.#past.length > MOST_STEPS) this.#past.shift();
    this.present = { song, label };
    this.#future = [];
  }

  undo() {
    if (!this.#past.length) return;
    this.#future.push(this.present);
    this.present = this.#past.pop();
  }

  redo() {
    if (!this.#future.length) return;
    this.#past.push(this.present);
    this.present = this.#future.pop();
  }

  /** A plain value for `History.restored`. */
  kept() {
    return { past: this.#past, present: this.present, future: this.#future };
  }

  static restored({ past, present, future }) {
    const history = new History(present.song);
    history.present = present;
    history.#past = past;
    history.#future = future;
    return history;
  }
}
