// What to ask of the model: from the song, the chosen bars and the settings to the body of `POST /generate`.

import { trackNames } from "./instruments.js";
import { LEAST_BARS, readBars, spellBars, toScore, withBars, withTrack } from "./model.js";
import { Selection } from "./selection.js";

/** The settings that a new studio has. */
export function freshSettings() {
  return {
    mode: "fill",
    continueBars: 4,
    continueTracks: "all",
    newTrack: { program: 0, drum: false },
    attributes: { melodic: {}, drum: {} },
    scale: { kind: "any", name: "major", root: 0, classes: [] },
    rhythm: { kind: "any", unit: "sixteenth", strength: 1, steps: [], notes: 1 },
    variation: { on: false, amount: 0.5, lengths: false },
    // Other settings for some bars: {bars: "5–8", scale: "" as above or {kind, root, name}, rhythm: "" or {kind, unit}}.
    singleBars: [],
    temperature: 1,
    versions: 4,
    seed: null,
    velocity: true,
    microtiming: true,
    genre: "",
  };
}

/**
 * {base, targets, from, body, label, problem}: the song with room for what is written, which bars of it are written, the
 * first bar that is sent, the body without its seed, and words for the history. `problem`, if there is nothing to
 * write, says what to do.
 *
 * The server gets the bars that are written and those around them that the model can hear, not the whole song: a long one
 * would take longer to read than to write. Its bars count from `from`.
 */
export function planOf(song, selection, settings, info, attributes) {
  const draft = DRAFTS[settings.mode](song, selection, settings, info);
  if (draft.problem) return draft;
  const { base, targets, autoregressive, label } = draft;
  const [from, to] = heard(base, targets, info);
  const prompts = base.tracks.map((_, id) => ({ id, bars: [] }));
  for (const [id, bars] of targets.entries()) {
    const sent = bars.map((bar) => bar - from);
    prompts[id] = { id, bars: sent, autoregressive, ...wishes(base, id, sent, settings, info, attributes) };
    const ofBars = controlsOfBars(base.tracks[id], bars, from, settings, info);
    if (Object.keys(ofBars).length) prompts[id].bar_controls = ofBars;
  }
  const oneTrackAtATime = prompts.some((prompt) => prompt.controls?.rhythm_mask?.positions);
  const config = {
    temperature: settings.temperature,
    model_dim: 0,
    bars_per_step: 0,
    tracks_per_step: oneTrackAtATime ? 1 : 0,
  };
  const request = { tracks: prompts, config, controls: ofRequest(settings, info) };
  return { base, targets, from, label, body: { score: toScore(base, from, to), request, model: info.model } };
}

/** [first bar, bar after the last] that the model can hear: a window before what is written, and one after it. */
function heard(song, targets, { capabilities }) {
  const window = Math.max(LEAST_BARS, ...capabilities.model_dim_options);
  const [first, last] = targets.extent;
  return [Math.max(0, first - window), Math.min(song.bars.length, last + 1 + window)];
}

const DRAFTS = {
  fill(song, selection, settings, info) {
    if (selection.empty) return { problem: "Drag over bars in the rolls to choose what to write." };
    const verb = varies(settings, info) ? "Vary" : "Fill in";
    return { base: song, targets: selection, autoregressive: false, label: `${verb} ${spellTargets(song, selection)}` };
  },

  continue(song, selection, { continueBars, continueTracks }) {
    if (!song.tracks.length) return { problem: "There is no track to continue yet. Add one with New track." };
    if (continueTracks === "selected" && selection.empty) {
      return { problem: "Drag over bars in the rolls to choose the tracks." };
    }
    const first = song.bars.length;
    const base = withBars(song, first + continueBars);
    const tracks = continueTracks === "all" ? parts(song) : selection.tracks();
    const targets = new Selection();
    for (const track of tracks) targets.setRectangle([track, first], [track, first + continueBars - 1], true);
    return { base, targets, autoregressive: true, label: `Continue by ${counted(continueBars, "bar")}` };
  },

  track(song, selection, { newTrack }) {
    const base = withTrack(song, newTrack);
    const track = base.tracks.length - 1;
    const [first, last] = selection.extent ?? [0, song.bars.length - 1];
    const targets = Selection.rectangle([track, first], [track, last]);
    return { base, targets, autoregressive: true, label: `Add ${trackNames(base.tracks)[track]}` };
  },
};

/** The tracks that have notes, all of them if none has: a track of lyrics, say, is no part of the music. */
function parts({ tracks }) {
  const all = [...tracks.keys()];
  const sounding = all.filter((track) => tracks[track].cells.some((notes) => notes.length));
  return sounding.length ? sounding : all;
}

/** "Melody, bars 5–8" for one track, "3 tracks, bars 5–8" for several. */
export function spellTargets(song, selection) {
  const entries = selection.entries();
  const bars = new Set(entries.flatMap(([, some]) => some));
  const who = entries.length === 1 ? trackNames(song.tracks)[entries[0][0]] : counted(entries.length, "track");
  return `${who}, ${bars.size === 1 ? "bar" : "bars"} ${spellBars(bars)}`;
}

function counted(count, what) {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

/** Attributes and controls of one track's prompt. */
function wishes(song, id, bars, settings, info, attributes) {
  const { drum } = song.tracks[id];
  const levels = settings.attributes[drum ? "drum" : "melodic"];
  const ofTrack = {};
  const ofBar = {};
  for (const { name, levels: size, ofBars, melodic, drum: drums } of attributes) {
    const level = levels[name];
    if (level === undefined || level >= size || !(drum ? drums : melodic)) continue;
    (ofBars ? ofBar : ofTrack)[name] = level;
  }
  const prompt = { attributes: ofTrack, controls: {} };
  if (Object.keys(ofBar).length) prompt.bar_attributes = Object.fromEntries(bars.map((bar) => [bar, ofBar]));
  const pitches = pitchMask(settings.scale);
  if (pitches && !drum && info.capabilities.supports_pitch_mask) prompt.controls.pitch_mask = pitches;
  // A variation keeps where notes begin.
  if (varies(settings, info)) {
    const { amount, lengths } = settings.variation;
    prompt.controls.remix = { amount, mode: lengths ? "full" : "pitch" };
    return prompt;
  }
  const rhythm = rhythmMask(settings.rhythm, info.resolution);
  if (rhythm && info.capabilities.supports_rhythm_mask) prompt.controls.rhythm_mask = rhythm;
  return prompt;
}

/** Whether the bars keep their rhythm and some of their notes. */
export function varies({ mode, variation }, { capabilities }) {
  return mode === "fill" && variation.on && Boolean(capabilities.supports_remix);
}

/** The controls of single bars by their numbers as they are sent. A later rule wins. */
function controlsOfBars({ drum }, bars, from, settings, info) {
  const { capabilities } = info;
  const found = {};
  for (const rule of settings.singleBars) {
    const chosen = new Set(readBars(rule.bars) ?? []);
    const own = {};
    // An empty mask and a grid without strength: nothing is restricted.
    if (rule.scale && !drum && capabilities.supports_pitch_mask) own.pitch_mask = pitchMask(rule.scale) ?? {};
    if (rule.rhythm && !varies(settings, info) && capabilities.supports_rhythm_mask) {
      const grid = rule.rhythm.kind === "grid" ? { unit: rule.rhythm.unit } : { unit: "sixteenth", strength: 0 };
      own.rhythm_mask = { grid };
    }
    if (!Object.keys(own).length) continue;
    for (const bar of bars) if (chosen.has(bar)) found[bar - from] = { ...found[bar - from], ...own };
  }
  return found;
}

function pitchMask({ kind, name, root, classes }) {
  if (kind === "scale") return { scale: name, root };
  if (kind === "own" && classes.length) return { pitch_classes: classes };
  return null;
}

/** `resolution`: the encoder's ticks per quarter; steps are sixteenths of the bar. */
function rhythmMask({ kind, unit, strength, steps, notes }, resolution) {
  if (kind === "grid") return { grid: { unit, strength } };
  if (kind === "own" && steps.length) {
    return { positions: steps.map((step) => ({ pos: Math.round((step * resolution) / 4), polyphony: notes })) };
  }
  return null;
}

function ofRequest({ velocity, microtiming, genre }, { capabilities }) {
  const controls = {};
  if (capabilities.switchable_velocity) controls.velocity = velocity;
  if (capabilities.switchable_microtiming) controls.microtiming = microtiming;
  if (capabilities.genres.includes(genre)) controls.genre = genre;
  return controls;
}
