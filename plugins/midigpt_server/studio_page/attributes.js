// What the model's attribute controls mean to a musician: a name, words for both ends, and words for each level.

import { PITCH_CLASSES } from "./instruments.js";

const LENGTHS = ["32nd notes", "16th notes", "8th notes", "quarter notes", "half notes", "whole notes"];
const KEYS = [
  ...PITCH_CLASSES.map((name) => `${name} major`),
  ...PITCH_CLASSES.map((name) => `${name} minor`),
  "no clear key",
];
const AMOUNTS = ["very low", "low", "medium", "high", "very high"];

const counted = (one, many, add = 0) => (level) => `${level + add} ${level + add === 1 ? one : many}`;
const graded = (words) => (level, levels) =>
  words[Math.min(Math.floor((level * words.length) / levels), words.length - 1)];

const density = {
  label: "Density",
  hint: "How many notes a bar has, compared with other music for the instrument.",
  low: "sparse",
  high: "busy",
  word: graded(["very sparse", "sparse", "moderate", "busy", "very busy"]),
};
const fewest = {
  label: "Fewest notes at once",
  hint: "How many notes sound together in the thinnest places.",
  low: "single notes",
  high: "thick chords",
  word: counted("note", "notes", 1),
};
const most = { ...fewest, label: "Most notes at once", hint: "How many notes sound together in the fullest places." };
const shortest = {
  label: "Shortest notes",
  hint: "The length of the shortest notes.",
  low: "quick",
  high: "held",
  word: (level) => LENGTHS[level] ?? `level ${level}`,
};

const MEANINGS = {
  note_density: density,
  bar_note_density: density,
  min_polyphony: fewest,
  bar_min_polyphony: fewest,
  max_polyphony: most,
  bar_max_polyphony: most,
  min_note_duration: shortest,
  max_note_duration: { ...shortest, label: "Longest notes", hint: "The length of the longest notes." },
  note_duration_dist: { ...shortest, label: "Usual notes", hint: "The length that most notes have." },
  onset_polyphony: {
    label: "Largest chord",
    hint: "How many notes start together at most.",
    low: "single notes",
    high: "thick chords",
    word: counted("note", "notes"),
  },
  pitch_range: {
    label: "Range",
    hint: "From the lowest note to the highest.",
    low: "narrow",
    high: "wide",
    word: counted("semitone", "semitones"),
  },
  key_signature: { label: "Key", hint: "The key that the music is in.", choices: KEYS },
  silence_proportion: {
    label: "Silence",
    hint: "How much of the time the track rests.",
    low: "always playing",
    high: "mostly resting",
    word: (level, levels) => `${Math.round((100 * level) / levels)} % rests`,
  },
  pitch_class_set: {
    label: "Different notes",
    hint: "How many different notes of the scale a bar uses.",
    low: "few",
    high: "many",
    word: counted("note", "notes"),
  },
  nomml: {
    label: "Timing",
    hint: "How far the timing is from a strict grid.",
    low: "strict",
    high: "free",
    word: graded(["on the beat", "strict", "loose", "free"]),
  },
  tension: {
    label: "Tension",
    hint: "How tense the harmony is.",
    low: "calm",
    high: "tense",
    word: graded(["calm", "mild", "balanced", "tense", "very tense"]),
  },
};
MEANINGS.pitch_class_set_track = MEANINGS.pitch_class_set;
MEANINGS.tension_drum = MEANINGS.tension;

/** The meaning of an attribute; one that is not listed here gets its own name and plain words. */
export function meaning(name) {
  return (
    MEANINGS[name] ?? {
      label: name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase()),
      hint: "",
      low: "low",
      high: "high",
      word: graded(AMOUNTS),
    }
  );
}

/** The attributes that a model has, as [{name, levels, ofBars, melodic, drum}], from the answer to `GET /info`. */
export function attributesOf(info) {
  return Object.entries(info.attributes).map(([name, levels]) => {
    const kind = info.attribute_track_types[name];
    return {
      name,
      levels,
      ofBars: info.attribute_levels?.[name] === "bar",
      melodic: kind !== "drum",
      drum: kind !== "melodic",
    };
  });
}
