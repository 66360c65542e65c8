// Which bars of which tracks are chosen.

export class Selection {
  #bars = new Map();

  /** A copy of `other`, or of nothing. */
  constructor(other = null) {
    for (const [track, bars] of other?.entries() ?? []) this.#bars.set(track, new Set(bars));
  }

  static rectangle([trackA, barA], [trackB, barB]) {
    const made = new Selection();
    made.setRectangle([trackA, barA], [trackB, barB], true);
    return made;
  }

  get empty() {
    return this.#bars.size === 0;
  }

  has(track, bar) {
    return this.#bars.get(track)?.has(bar) ?? false;
  }

  /** [track, bars] in order. */
  entries() {
    return [...this.#bars.entries()].sort(([one], [other]) => one - other).map(([track, bars]) => [track, sorted(bars)]);
  }

  tracks() {
    return sorted(this.#bars.keys());
  }

  /** [first bar, last bar] over all tracks, or null. */
  get extent() {
    const bars = [...this.#bars.values()].flatMap((set) => [...set]);
    return bars.length ? [Math.min(...bars), Math.max(...bars)] : null;
  }

  set(track, bar, chosen) {
    const bars = this.#bars.get(track) ?? new Set();
    if (chosen) bars.add(bar);
    else bars.delete(bar);
    if (bars.size) this.#bars.set(track, bars);
    else this.#bars.delete(track);
  }

  /** Choose, or no longer choose, all bars between two corners [track, bar]. */
  setRectangle([trackA, barA], [trackB, barB], chosen) {
    for (let track = Math.min(trackA, trackB); track <= Math.max(trackA, trackB); track++) {
      for (let bar = Math.min(barA, barB); bar <= Math.max(barA, barB); bar++) this.set(track, bar, chosen);
    }
  }

  /** Without what a song does not have. */
  within(song) {
    const made = new Selection();
    for (const [track, bars] of this.entries()) {
      if (track >= song.tracks.length) continue;
      for (const bar of bars) if (bar < song.bars.length) made.set(track, bar, true);
    }
    return made;
  }
}

function sorted(values) {
  return [...values].sort((one, other) => one - other);
}
