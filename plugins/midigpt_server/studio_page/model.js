// Songs as values: an edit returns a new song, which shares with the old one all that did not change.
//
//   song   {name, file, resolution, tempo, tempos, bars, tracks}; file: the bytes of the MIDI file it was opened from, or null
//   tempos [{quarter, tempo}], microseconds per quarter from a place in quarters on; empty: `tempo` throughout
//   bars   [{numerator, denominator, quarters}]
//   tracks [{name, program, drum, ofFile, cells}]; cells: for each bar its notes, as the server writes them
//
// `ofFile` marks tracks of the MIDI file that the song was opened from. Export puts the song back into that file, which
// needs these tracks in their order.

export const LEAST_BARS = 4;
const EMPTY_BARS = 8;
const NO_NOTES = Object.freeze([]);

export function emptySong() {
  return {
    name: "Untitled",
    file: null,
    resolution: 480,
    tempo: 500_000,
    tempos: [],
    bars: Array.from({ length: EMPTY_BARS }, commonTime),
    tracks: [],
  };
}

/** The song of a file, from the server's answer to `POST /studio/read`. */
export function songOfFile(answer, name, file, tempos) {
  const { score, bar_quarters: quarters, signatures, track_names: names } = answer;
  const song = {
    name,
    file,
    resolution: score.resolution,
    tempo: score.tempo,
    tempos,
    bars: quarters.map((length, bar) => ({
      numerator: signatures[bar][0],
      denominator: signatures[bar][1],
      quarters: length,
    })),
    tracks: score.tracks.map((track, index) => ({
      name: names[index],
      program: track.instrument,
      drum: track.track_type === "drum",
      ofFile: true,
      cells: track.bars.map((bar) => bar.notes),
    })),
  };
  return withBars(song, LEAST_BARS);
}

/** The song in the form that `POST /generate` takes; of its bars those from `from` to before `to`. */
export function toScore(song, from = 0, to = song.bars.length) {
  return {
    resolution: song.resolution,
    tempo: song.tempo,
    tracks: song.tracks.map((track) => ({
      instrument: track.program,
      track_type: track.drum ? "drum" : "melodic",
      bars: song.bars.slice(from, to).map((bar, index) => ({
        ts_numerator: bar.numerator,
        ts_denominator: bar.denominator,
        notes: track.cells[from + index],
      })),
    })),
  };
}

/** The song with other notes in some cells: `changes` is [{track, bar, notes}]. */
export function withCells(song, changes) {
  const tracks = song.tracks.slice();
  for (const { track, bar, notes } of changes) {
    if (tracks[track] === song.tracks[track]) {
      tracks[track] = { ...tracks[track], cells: tracks[track].cells.slice() };
    }
    tracks[track].cells[bar] = notes;
  }
  return { ...song, tracks };
}

/** The song with at least `count` bars; those that are added are empty and like the last one. */
export function withBars(song, count) {
  const missing = count - song.bars.length;
  if (missing <= 0) return song;
  const last = song.bars.at(-1) ?? commonTime();
  const like = { ...last, quarters: nominalQuarters(last) };
  return {
    ...song,
    bars: [...song.bars, ...Array.from({ length: missing }, () => like)],
    tracks: song.tracks.map((track) => ({
      ...track,
      cells: [...track.cells, ...Array.from({ length: missing }, () => NO_NOTES)],
    })),
  };
}

export function withTrack(song, { program, drum, name = "" }) {
  const cells = song.bars.map(() => NO_NOTES);
  return { ...song, tracks: [...song.tracks, { name, program, drum, ofFile: false, cells }] };
}

export function withoutTrack(song, track) {
  return { ...song, tracks: song.tracks.filter((_, index) => index !== track) };
}

export function withTrackFields(song, track, fields) {
  return { ...song, tracks: song.tracks.map((one, index) => (index === track ? { ...one, ...fields } : one)) };
}

/** The quarter at which each bar starts, and the end of the song as one more value. */
export function barStarts(song) {
  let starts = startsOfBars.get(song.bars);
  if (!starts) {
    starts = [0];
    for (const bar of song.bars) starts.push(starts.at(-1) + bar.quarters);
    startsOfBars.set(song.bars, starts);
  }
  return starts;
}
const startsOfBars = new WeakMap();

/** The bar in which a quarter lies; the last one for places past the end. */
export function barAt(song, quarter) {
  const starts = barStarts(song);
  let low = 0;
  let high = song.bars.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle] <= quarter) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** All notes of a track in order of the bars, as [{quarter, quarters, pitch, velocity, bar}]. */
export function notesOf(song, track) {
  const { cells } = song.tracks[track];
  let notes = notesOfCells.get(cells);
  if (!notes || notes.bars !== song.bars) {
    const starts = barStarts(song);
    notes = cells.flatMap((cell, bar) =>
      cell.map((note) => ({
        quarter: starts[bar] + note.onset_ticks / song.resolution,
        quarters: note.duration_ticks / song.resolution,
        pitch: note.pitch,
        velocity: note.velocity,
        bar,
      })),
    );
    notes.bars = song.bars;
    notesOfCells.set(cells, notes);
  }
  return notes;
}
const notesOfCells = new WeakMap();

/** Seconds from the start of the song to a quarter. */
export function secondsAt(song, quarter) {
  let seconds = 0;
  for (const [from, to, tempo] of tempoRuns(song)) {
    seconds += (Math.min(Math.max(quarter, from), to) - from) * tempo * 1e-6;
    if (quarter <= to) break;
  }
  return seconds;
}

/** The inverse of `secondsAt`. */
export function quarterAt(song, seconds) {
  let left = seconds;
  for (const [from, to, tempo] of tempoRuns(song)) {
    const quarters = left / (tempo * 1e-6);
    if (quarters <= to - from) return from + quarters;
    left -= (to - from) * tempo * 1e-6;
  }
  return 0;
}

/** [from, to, microseconds per quarter] for each stretch of one tempo; the last one has no end. */
function tempoRuns(song) {
  const marks = song.tempos.length ? song.tempos : [{ quarter: 0, tempo: song.tempo }];
  return marks.map(({ quarter, tempo }, index) => [
    index ? quarter : 0,
    marks[index + 1]?.quarter ?? Infinity,
    tempo,
  ]);
}

export function noteCount(song) {
  return song.tracks.reduce((sum, { cells }) => sum + cells.reduce((notes, cell) => notes + cell.length, 0), 0);
}

/** "5–8, 12" for [4, 5, 6, 7, 11]: bars are counted from 1 where people read them. */
export function spellBars(bars) {
  const runs = [];
  for (const bar of [...bars].sort((a, b) => a - b)) {
    if (runs.length && runs.at(-1)[1] === bar - 1) runs.at(-1)[1] = bar;
    else runs.push([bar, bar]);
  }
  return runs.map(([first, last]) => (first === last ? `${first + 1}` : `${first + 1}–${last + 1}`)).join(", ");
}

/** The bars of a text like "5–8, 12", which counts from 1, ascending; null if it is none. */
export function readBars(text) {
  const bars = new Set();
  for (const part of text.split(",")) {
    const found = /^\s*(\d{1,5})\s*(?:[-–]\s*(\d{1,5})\s*)?$/.exec(part);
    if (!found) return null;
    const [first, last] = [Number(found[1]), Number(found[2] ?? found[1])];
    if (first < 1 || last < first) return null;
    for (let bar = first; bar <= last; bar++) bars.add(bar - 1);
  }
  return [...bars].sort((one, other) => one - other);
}

function commonTime() {
  return { numerator: 4, denominator: 4, quarters: 4 };
}

function nominalQuarters(bar) {
  return (4 * bar.numerator) / bar.denominator;
}
