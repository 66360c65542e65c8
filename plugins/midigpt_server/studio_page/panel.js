// The panel that says what to write: mode, attributes, scale, rhythm and the rest.

import { meaning } from "./attributes.js";
import { element, find, icon } from "./dom.js";
import { PITCH_CLASSES } from "./instruments.js";
import { readBars, spellBars } from "./model.js";
import { varies } from "./plan.js";
import { instrumentOptions } from "./rolls.js";

const MOST_VERSIONS = 8;
const STEPS_PER_BAR = 16;
const AUTO = -1;
const UNITS = {
  whole: "whole notes",
  half: "half notes",
  quarter: "quarter notes",
  eighth: "8th notes",
  sixteenth: "16th notes",
  quarter_triplet: "quarter triplets",
  eighth_triplet: "8th triplets",
  sixteenth_triplet: "16th triplets",
};
const VARIETY = [
  [0.65, "safe"],
  [0.9, "predictable"],
  [1.12, "balanced"],
  [1.32, "surprising"],
  [Infinity, "wild"],
];
const BLACK = new Set([1, 3, 6, 8, 10]);

/** Fires "change" with the new settings. */
export class Panel extends EventTarget {
  #settings;
  #info = null;
  #attributes = [];
  #kinds = "";
  #rules = "";
  /** The bars that are written, which a rule for single bars begins with. */
  #bars = [];

  constructor(settings) {
    super();
    this.#settings = settings;
    this.#fillLists();
    this.#listen();
    this.render();
  }

  /** The model has changed: `attributes` as attributesOf returns them. */
  setModel(info, attributes) {
    this.#info = info;
    this.#attributes = attributes;
    this.#kinds = "";
    const { capabilities } = info;
    fillSelect(
      find("scale-name"),
      capabilities.pitch_mask_scale_presets.map((name) => [name, name.replaceAll("_", " ")]),
    );
    this.#rules = "";
    const units = Object.keys(UNITS).filter((unit) => capabilities.rhythm_mask_grid_units.includes(unit));
    fillSelect(find("grid-unit"), units.map((unit) => [unit, UNITS[unit]]));
    this.#more();
    this.render();
  }

  set settings(settings) {
    this.#settings = settings;
    this.render();
  }

  /** `kinds`: which of "melodic" and "drum" are written; `target`: the words for it; `bars`: those that are written. */
  setTarget(target, kinds, missing, bars) {
    this.#bars = bars;
    const line = find("target");
    line.textContent = target;
    line.classList.toggle("missing", missing);
    const spelled = kinds.join();
    if (spelled === this.#kinds) return;
    this.#kinds = spelled;
    this.#character(kinds);
  }

  render() {
    const settings = this.#settings;
    for (const radio of document.querySelectorAll("#writing input[name=mode]")) {
      radio.checked = radio.value === settings.mode;
    }
    find("continue-fields").hidden = settings.mode !== "continue";
    find("track-fields").hidden = settings.mode !== "track";
    setValue("continue-bars", settings.continueBars);
    setValue("continue-tracks", settings.continueTracks);
    setValue("new-instrument", settings.newTrack.drum ? "drums" : settings.newTrack.program);
    setValue("version-count", settings.versions);
    this.#renderScale(settings.scale);
    this.#renderRhythm(settings.rhythm);
    this.#renderVariation(settings);
    this.#renderSingleBars(settings.singleBars);
  }

  // What is always there.

  #fillLists() {
    find("new-instrument").append(element("option", { value: "drums" }, "Drum kit"), ...instrumentOptions());
    fillSelect(find("scale-root"), PITCH_CLASSES.map((name, index) => [index, name]));
    const counts = Array.from({ length: MOST_VERSIONS }, (_, index) => [index + 1, index + 1]);
    fillSelect(find("version-count"), counts);
    find("keyboard").append(
      ...PITCH_CLASSES.map((name, index) =>
        element(
          "button",
          { type: "button", class: BLACK.has(index) ? "key black" : "key", "data-index": index, "aria-pressed": "false" },
          name,
        ),
      ),
    );
    find("steps").append(
      ...Array.from({ length: STEPS_PER_BAR }, (_, index) =>
        element("button", {
          type: "button",
          class: index % 4 ? "step" : "step beat",
          "data-index": index,
          "aria-pressed": "false",
          "aria-label": `Beat ${Math.floor(index / 4) + 1}${["", ", second sixteenth", ", half", ", last sixteenth"][index % 4]}`,
        }),
      ),
    );
    find("grid-strength").append(
      slider({
        id: "strength",
        label: "Strictness",
        low: "loose",
        high: "strict",
        min: 0,
        max: 100,
        value: Math.round(100 * this.#settings.rhythm.strength),
        word: (value) => `${value} %`,
        input: (value) => this.#change({ rhythm: { ...this.#settings.rhythm, strength: value / 100 } }),
      }),
    );
    this.#fillVariation();
  }

  #fillVariation() {
    find("variation-amount").prepend(
      slider({
        id: "variation-share",
        label: "New notes",
        hint: "How many of the notes get another pitch. The others stay, and so does the rhythm.",
        low: "a few",
        high: "all",
        min: 10,
        max: 100,
        step: 10,
        value: Math.round(100 * this.#settings.variation.amount),
        word: (value) => `${value} %`,
        input: (value) => this.#change({ variation: { ...this.#settings.variation, amount: value / 100 } }),
      }),
    );
  }

  #listen() {
    const radios = (name, act) => {
      for (const radio of document.querySelectorAll(`#writing input[name=${name}]`)) {
        radio.addEventListener("change", () => act(radio.value));
      }
    };
    const selects = (id, act) => find(id).addEventListener("change", () => act(find(id).value));
    radios("mode", (mode) => this.#change({ mode }));
    selects("continue-bars", (text) =>
      this.#change({ continueBars: Math.min(Math.max(Math.round(Number(text)) || 1, 1), 64) }),
    );
    selects("continue-tracks", (continueTracks) => this.#change({ continueTracks }));
    selects("new-instrument", (value) =>
      this.#change({ newTrack: value === "drums" ? { program: 0, drum: true } : { program: Number(value), drum: false } }),
    );
    selects("version-count", (value) => this.#change({ versions: Number(value) }));
    radios("scale-kind", (kind) => this.#change({ scale: { ...this.#settings.scale, kind } }));
    selects("scale-root", (value) => this.#change({ scale: { ...this.#settings.scale, root: Number(value) } }));
    selects("scale-name", (name) => this.#change({ scale: { ...this.#settings.scale, name } }));
    radios("rhythm-kind", (kind) => this.#change({ rhythm: { ...this.#settings.rhythm, kind } }));
    selects("grid-unit", (unit) => this.#change({ rhythm: { ...this.#settings.rhythm, unit } }));
    selects("step-notes", (value) => this.#change({ rhythm: { ...this.#settings.rhythm, notes: Number(value) } }));
    const toggles = (id, of, key) =>
      find(id).addEventListener("click", (event) => {
        const button = event.target.closest("[data-index]");
        if (!button) return;
        const index = Number(button.dataset.index);
        const before = this.#settings[of][key];
        const after = before.includes(index) ? before.filter((one) => one !== index) : [...before, index];
        this.#change({ [of]: { ...this.#settings[of], [key]: after.sort((a, b) => a - b) } });
      });
    radios("variation", (value) => this.#change({ variation: { ...this.#settings.variation, on: value === "on" } }));
    find("variation-lengths").addEventListener("change", ({ target }) =>
      this.#change({ variation: { ...this.#settings.variation, lengths: target.checked } }),
    );
    find("add-bars").addEventListener("click", () => {
      const rule = { bars: spellBars(this.#bars.slice(-1)), scale: "", rhythm: "" };
      this.#change({ singleBars: [...this.#settings.singleBars, rule] });
      find("bar-rules").lastElementChild.querySelector("input").focus();
    });
    toggles("keyboard", "scale", "classes");
    toggles("steps", "rhythm", "steps");
  }

  #change(fields) {
    this.#settings = { ...this.#settings, ...fields };
    this.render();
    this.dispatchEvent(new CustomEvent("change", { detail: this.#settings }));
  }

  /** Whether a section can be used; `reason` says why it cannot. */
  #support(name, reason) {
    const line = find(`${name}-unsupported`);
    line.textContent = reason;
    line.hidden = !reason;
    const section = find(`${name}-section`);
    section.classList.toggle("without", Boolean(reason));
    for (const control of section.querySelectorAll("input, select, button")) control.disabled = Boolean(reason);
  }

  #renderVariation(settings) {
    const { variation, mode } = settings;
    const capabilities = this.#info?.capabilities;
    const on = capabilities ? varies(settings, this.#info) : false;
    find("variation-fields").hidden = mode !== "fill" || !capabilities?.supports_remix;
    find("variation-amount").hidden = !on;
    find("variation-lengths").checked = variation.lengths;
    check("variation", on ? "on" : "off");
    if (!capabilities) return;
    this.#support("scale", capabilities.supports_pitch_mask ? "" : "This server cannot restrict notes.");
    const kept = on ? "A variation keeps the rhythm that is there." : "";
    this.#support("rhythm", capabilities.supports_rhythm_mask ? kept : "This server cannot restrict rhythms.");
    find("bars-section").hidden = !(capabilities.supports_pitch_mask || capabilities.supports_rhythm_mask);
    if (on) find("rhythm-summary").textContent = "as it is";
  }

  #renderSingleBars(rules) {
    // Bars change while another field of the rule is pressed: its fields must stay.
    const shape = JSON.stringify(rules.map((rule) => ({ ...rule, bars: "" })));
    const usable = rules.filter(({ bars, scale, rhythm }) => readBars(bars) && (scale || rhythm)).length;
    find("bars-summary").textContent = rules.length ? `${usable} rule${usable === 1 ? "" : "s"}` : "all alike";
    if (shape === this.#rules) {
      rules.forEach(({ bars }, index) => {
        const field = find(`rule-${index}-bars`);
        if (field !== document.activeElement) field.value = bars;
        field.setAttribute("aria-invalid", String(!readBars(bars)));
      });
      return;
    }
    this.#rules = shape;
    const focused = document.activeElement?.id;
    find("bar-rules").replaceChildren(...rules.map((rule, index) => this.#barRule(rule, index)));
    if (focused) document.getElementById(focused)?.focus();
  }

  /** The fields of a rule: its bars, their scale and their rhythm. */
  #barRule(rule, index) {
    const { capabilities } = this.#info ?? { capabilities: { pitch_mask_scale_presets: [], rhythm_mask_grid_units: [] } };
    const change = (fields) =>
      this.#change({ singleBars: this.#settings.singleBars.map((one, at) => (at === index ? { ...one, ...fields } : one)) });
    const number = index + 1;
    const bars = element("input", {
      id: `rule-${index}-bars`,
      value: rule.bars,
      autocomplete: "off",
      placeholder: "5–8",
      "aria-label": `Bars of rule ${number}`,
      "aria-invalid": String(!readBars(rule.bars)),
      title: "Bars by their numbers, such as 5–8, 12",
      onchange: () => change({ bars: bars.value.trim() }),
    });
    const remove = element(
      "button",
      {
        class: "button square quiet small",
        type: "button",
        "aria-label": `Remove rule ${number}`,
        title: "Remove",
        onclick: () => {
          this.#change({ singleBars: this.#settings.singleBars.filter((_, at) => at !== index) });
          find("add-bars").focus();
        },
      },
      icon("close"),
    );
    const select = (name, label, options, value, act) => {
      const made = element("select", { id: `rule-${index}-${name}`, "aria-label": label, onchange: () => act(made.value) });
      fillSelect(made, options);
      made.value = String(value);
      return made;
    };
    const kind = rule.scale ? (rule.scale.kind === "any" ? "any" : String(rule.scale.root)) : "";
    const tonics = PITCH_CLASSES.map((name, root) => [root, name]);
    const tonic = select("tonic", `Scale of rule ${number}`, [["", "as above"], ["any", "any notes"], ...tonics], kind, (value) => {
      if (value === "") return change({ scale: "" });
      if (value === "any") return change({ scale: { kind: "any" } });
      change({ scale: { kind: "scale", root: Number(value), name: rule.scale?.name ?? this.#settings.scale.name } });
    });
    const names = capabilities.pitch_mask_scale_presets.map((name) => [name, name.replaceAll("_", " ")]);
    const scale =
      rule.scale?.kind === "scale"
        ? select("scale", `Kind of scale of rule ${number}`, names, rule.scale.name, (name) => change({ scale: { ...rule.scale, name } }))
        : null;
    const units = Object.keys(UNITS).filter((unit) => capabilities.rhythm_mask_grid_units.includes(unit));
    const current = rule.rhythm ? (rule.rhythm.kind === "grid" ? rule.rhythm.unit : "any") : "";
    const unit = select(
      "rhythm",
      `Rhythm of rule ${number}`,
      [["", "as above"], ["any", "any rhythm"], ...units.map((name) => [name, UNITS[name]])],
      current,
      (value) => change({ rhythm: value === "" ? "" : value === "any" ? { kind: "any" } : { kind: "grid", unit: value } }),
    );
    const field = (label, ...controls) =>
      element("div", { class: "field" }, element("span", {}, label), element("div", { class: "rule-controls" }, ...controls));
    return element(
      "div",
      { class: "bar-rule", role: "group", "aria-label": `Rule ${number}` },
      field("Bars", bars, remove),
      capabilities.supports_pitch_mask === false ? null : field("Scale", tonic, scale),
      capabilities.supports_rhythm_mask === false ? null : field("Rhythm", unit),
    );
  }

  #renderScale({ kind, name, root, classes }) {
    check("scale-kind", kind);
    find("scale-fields").hidden = kind !== "scale";
    find("keyboard").hidden = kind !== "own";
    setValue("scale-root", root);
    setValue("scale-name", name);
    press("keyboard", classes);
    const words = {
      any: "any notes",
      scale: `${PITCH_CLASSES[root]} ${name.replaceAll("_", " ")}`,
      own: classes.length ? classes.map((one) => PITCH_CLASSES[one]).join(" ") : "pick notes",
    };
    find("scale-summary").textContent = words[kind];
  }

  #renderRhythm({ kind, unit, steps, notes }) {
    check("rhythm-kind", kind);
    find("grid-fields").hidden = kind !== "grid";
    find("pattern-fields").hidden = kind !== "own";
    setValue("grid-unit", unit);
    setValue("step-notes", notes);
    press("steps", steps);
    const words = {
      any: "any rhythm",
      grid: UNITS[unit],
      own: steps.length ? `${steps.length} step${steps.length === 1 ? "" : "s"} a bar` : "pick steps",
    };
    find("rhythm-summary").textContent = words[kind];
  }

  // What depends on the model.

  #character(kinds) {
    const blocks = kinds.flatMap((kind) => {
      const own = this.#attributes.filter((attribute) => attribute[kind]);
      if (!own.length) return [];
      const title = kinds.length > 1 ? (kind === "drum" ? "Drums" : "Melodic tracks") : "Character";
      const fields = own.map((attribute) => this.#attribute(kind, attribute));
      return [element("section", { class: "section open" }, element("h3", {}, title), ...fields)];
    });
    find("character").replaceChildren(...blocks);
  }

  #attribute(kind, { name, levels }) {
    const { label, hint, low, high, word, choices } = meaning(name);
    const level = this.#settings.attributes[kind][name] ?? AUTO;
    const set = (value) => {
      const ofKind = { ...this.#settings.attributes[kind] };
      if (value === AUTO) delete ofKind[name];
      else ofKind[name] = value;
      this.#change({ attributes: { ...this.#settings.attributes, [kind]: ofKind } });
    };
    const id = `${kind}-${name}`;
    if (choices) {
      const select = element("select", { id, onchange: () => set(Number(select.value)) });
      const some = Array.from({ length: levels }, (_, index) => [index, choices[index] ?? index]);
      fillSelect(select, [[AUTO, "auto"], ...some]);
      select.value = String(level);
      return element("label", { class: "field", title: hint }, element("span", {}, label), select);
    }
    return slider({
      id,
      label,
      hint,
      low,
      high,
      min: AUTO,
      max: levels - 1,
      value: Math.min(level, levels - 1),
      word: (value) => (value === AUTO ? "auto" : word(value, levels)),
      input: set,
    });
  }

  #more() {
    const { capabilities } = this.#info;
    const settings = this.#settings;
    const temperature = slider({
      id: "temperature",
      label: "Variety",
      hint: "The model's temperature: how unlikely its choices may be.",
      low: "predictable",
      high: "surprising",
      min: 50,
      max: 150,
      step: 5,
      value: Math.round(100 * settings.temperature),
      word: (value) => VARIETY.find(([most]) => value / 100 <= most)[1],
      input: (value) => this.#change({ temperature: value / 100 }),
    });
    const seed = element("input", {
      id: "seed",
      type: "number",
      min: 0,
      max: 2 ** 31 - 1,
      placeholder: "random",
      value: settings.seed,
      onchange: () => {
        const given = seed.value === "" ? null : Math.min(Math.max(Math.round(Number(seed.value)) || 0, 0), 2 ** 31 - 1);
        seed.value = given ?? "";
        this.#change({ seed: given });
      },
    });
    const parts = [
      temperature,
      element("label", { class: "field", title: "The same seed and settings give the same music." }, element("span", {}, "Seed"), seed),
    ];
    if (capabilities.genres.length) {
      const genre = element("select", { id: "genre", onchange: () => this.#change({ genre: genre.value }) });
      fillSelect(genre, [["", "auto"], ...capabilities.genres.map((name) => [name, name])]);
      genre.value = settings.genre;
      parts.push(element("label", { class: "field" }, element("span", {}, "Genre"), genre));
    }
    for (const [key, label] of [["velocity", "Loud and soft notes"], ["microtiming", "Human timing"]]) {
      if (!capabilities[`switchable_${key}`]) continue;
      const box = element("input", { type: "checkbox", onchange: () => this.#change({ [key]: box.checked }) });
      box.checked = settings[key];
      parts.push(element("label", { class: "check" }, box, element("span", {}, label)));
    }
    find("more").replaceChildren(...parts);
  }
}

/** A slider with its name, the word for its value, and the words for its ends. `input` is called with each value. */
function slider({ id, label, hint = "", low, high, min, max, step = 1, value, word, input }) {
  const output = element("output", { for: id });
  const range = element("input", { id, type: "range", min, max, step, value });
  const show = () => {
    const now = Number(range.value);
    output.textContent = word(now);
    range.setAttribute("aria-valuetext", word(now));
    range.classList.toggle("auto", now === AUTO);
    range.style.setProperty("--filled", `${(100 * (now - min)) / (max - min)}%`);
  };
  range.addEventListener("input", () => {
    show();
    input(Number(range.value));
  });
  show();
  return element(
    "div",
    { class: "slider", title: hint },
    element("div", { class: "slider-head" }, element("label", { for: id }, label), output),
    range,
    element("div", { class: "slider-ends", "aria-hidden": "true" }, element("span", {}, low), element("span", {}, high)),
  );
}

export function fillSelect(select, options) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => element("option", { value }, String(text))));
  if (options.some(([value]) => String(value) === before)) select.value = before;
}

function setValue(id, value) {
  const control = find(id);
  if (control !== document.activeElement || control.localName === "select") control.value = String(value);
}

function check(name, value) {
  for (const radio of document.querySelectorAll(`#writing input[name=${name}]`)) radio.checked = radio.value === value;
}

function press(id, chosen) {
  for (const button of find(id).querySelectorAll("[data-index]")) {
    button.setAttribute("aria-pressed", String(chosen.includes(Number(button.dataset.index))));
  }
}
