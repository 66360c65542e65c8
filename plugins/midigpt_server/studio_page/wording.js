// The server's messages in the terms of the page: it counts tracks and bars from 0, and bars from the first that was sent.

import { trackNames } from "./instruments.js";
import { spellBars } from "./model.js";

// "track 0", "bars 2-4, 8", "bars 2 to 4", "tracks 0, 1 and 3"; of "bars 0, 2 and 7 more" the first two.
const NUMBER = String.raw`\d{1,5}(?:(?:-| to )\d{1,5})?(?!\d| more)`;
const PLACES = new RegExp(String.raw`\b(new )?(track|bar)s? (${NUMBER}(?:(?:, | and )${NUMBER})*)`, "g");
const BAR_OF_CONTROLS = /\b(bar_controls|bar_attributes)\[(\d{1,5})\]/g;
const MOST_NAMES = 8;

/** A message with the names of the song's tracks and its bars from 1; bar 0 of the message is the song's bar `from`. */
export function inSongTerms(message, song, from = 0) {
  const names = trackNames(song.tracks);
  return message
    .replace(PLACES, (all, isNew = "", what, places) => {
      const numbers = [...new Set(places.split(/, | and /).flatMap(expanded))];
      if (what === "bar") return `${plural("bar", numbers)} ${spellBars(numbers.map((bar) => from + bar))}`;
      if (numbers.some((track) => track >= names.length)) return all;
      const who = joined(numbers.map((track) => names[track]));
      return isNew ? `new ${plural("track", numbers)} ${who}` : who;
    })
    .replace(BAR_OF_CONTROLS, (_, field, bar) => `${field}[${from + Number(bar) + 1}]`);
}

function expanded(range) {
  const [first, last = first] = range.split(/-| to /).map(Number);
  return Array.from({ length: Math.max(last - first + 1, 0) }, (_, index) => first + index);
}

function joined(names) {
  if (names.length > MOST_NAMES) return `${names.length} tracks`;
  return names.length === 1 ? names[0] : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

function plural(what, { length }) {
  return length === 1 ? what : `${what}s`;
}
