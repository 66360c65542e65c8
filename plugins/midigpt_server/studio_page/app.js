// The studio: holds what is being worked on, and joins the parts of the page.

import { Connection, exportMidi, info as modelInfo, models as listModels, readMidi } from "./api.js";
import { attributesOf } from "./attributes.js";
import { Cards } from "./cards.js";
import { find, takesText } from "./dom.js";
import { History } from "./history.js";
import { trackNames } from "./instruments.js";
import { claim, keep, keepTheme, keptTheme } from "./keeping.js";
import * as model from "./model.js";
import { notify } from "./notices.js";
import { fillSelect, Panel } from "./panel.js";
import { freshSettings, planOf, spellTargets } from "./plan.js";
import { Proposal } from "./proposal.js";
import { withoutRiff } from "./riff.js";
import { Rolls } from "./rolls.js";
import { Selection } from "./selection.js";
import { tempoMap } from "./tempo_map.js";
import { Transport } from "./transport.js";
import { inSongTerms } from "./wording.js";

const ORIGINAL = -1;
const KEEP_AFTER_MS = 300;
// As in limits.h, the reader's.
const MOST_FILE_BYTES = 16 * 2 ** 20;
// Until the server has told about its models.
const UNKNOWN_MODEL = { model: null, resolution: 12, capabilities: { genres: [], model_dim_options: [] } };

class Studio {
  #history;
  #settings;
  #proposal = null;
  #shown = 0; // number of the version in the rolls
  #info = null;
  #attributes = [];
  #muted = new Set();
  #soloed = new Set();
  #loops = false;
  #keeping = false;
  #keepingLater = 0;
  #connection = new Connection();
  #transport = new Transport();
  #rolls = new Rolls(find("rolls"));
  #cards = new Cards(find("cards"));
  #panel;

  constructor(work) {
    this.#history = work?.history ? History.restored(work.history) : new History(model.emptySong());
    this.#settings = { ...freshSettings(), ...work?.settings };
    this.#panel = new Panel(this.#settings);
    this.#listen();
    this.#render();
    this.#rolls.fit();
    if (work?.proposal) this.#restoreProposal(work.proposal);
    this.#loadModels();
    this.#animate();
    this.#takeFiles();
  }

  get #song() {
    return this.#history.song;
  }

  /** What the rolls show and the player plays. */
  get #displayed() {
    if (!this.#proposal) return this.#song;
    if (this.#shown === ORIGINAL) return this.#proposal.plan.base;
    return this.#proposal.versions[this.#shown].song;
  }

  // The model.

  async #loadModels() {
    try {
      const { models, default_model: first } = await this.#connection.persist(listModels);
      const known = models.some(({ id }) => id === this.#settings.model);
      const chosen = known ? this.#settings.model : first;
      const select = find("model");
      fillSelect(select, models.map(({ id }) => [id, id]));
      select.value = chosen;
      select.hidden = models.length < 2;
      this.#info = await this.#connection.persist(() => modelInfo(chosen));
      this.#attributes = attributesOf(this.#info);
      this.#panel.setModel(this.#info, this.#attributes);
    } catch (error) {
      this.#complain(error.message);
    }
    this.#render();
  }

  // Files.

  async #open(file) {
    if (!file) return;
    if (!this.#mayReplace()) return;
    // Refused unread: a film that was dropped by mistake would fill the memory.
    if (file.size > MOST_FILE_BYTES) {
      return notify("error", `${file.name} is larger than 16 MiB, the most that is read of a MIDI file.`);
    }
    let bytes;
    try {
      bytes = withoutRiff(new Uint8Array(await file.arrayBuffer()));
    } catch {
      return notify("error", `${file.name} cannot be read: it is a folder, or was moved or locked. Open a MIDI file.`);
    }
    const late = setTimeout(() => notify("info", `Reading ${file.name} …`), 600);
    try {
      const waiting = () => notify("warning", `${file.name} is opened as soon as the server answers.`);
      const answer = await this.#connection.persist(() => readMidi(bytes, file.name), { waiting: once(waiting) });
      const name = file.name.replace(/\.(midi?|smf|kar|rmi)$/i, "");
      const song = model.songOfFile(answer, name, bytes, tempoMap(bytes));
      this.#muted.clear();
      this.#soloed.clear();
      this.#transport.pause();
      this.#transport.position = 0;
      this.#rolls.setSelection(new Selection());
      this.#step(song, `Open ${name}`);
      this.#rolls.fit();
      if (answer.bar_quarters.length < model.LEAST_BARS) {
        notify("info", `The model works on ${model.LEAST_BARS} bars or more: empty bars were added at the end.`);
      }
      this.#announce(`${name} is open: ${song.tracks.length} tracks, ${song.bars.length} bars.`);
    } catch (error) {
      notify("error", error.message);
    } finally {
      clearTimeout(late);
    }
  }

  #startEmpty() {
    if (!this.#mayReplace()) return;
    this.#transport.pause();
    this.#transport.position = 0;
    this.#rolls.setSelection(new Selection());
    if (this.#song.tracks.length) this.#step(model.emptySong(), "Start an empty song");
    this.#change({ mode: "track" });
    find("new-instrument").focus();
  }

  #mayReplace() {
    if (this.#proposal) notify("info", "Keep or discard the versions first.");
    return !this.#proposal;
  }

  async #export() {
    const song = this.#song;
    if (!model.noteCount(song)) return notify("info", "There are no notes to export yet.");
    try {
      const waiting = () => notify("warning", "The song is exported as soon as the server answers.");
      const { bytes, remarks } = await this.#connection.persist(() => exportMidi(model.toScore(song), song.file), {
        waiting: once(waiting),
      });
      const url = URL.createObjectURL(new Blob([bytes], { type: "audio/midi" }));
      const link = document.createElement("a");
      link.href = url;
      link.download = `${song.name || "song"}.mid`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
      for (const remark of remarks) notify("warning", inSongTerms(remark, song));
      this.#announce(`${link.download} was exported.`);
    } catch (error) {
      notify("error", inSongTerms(error.message, song));
    }
  }

  // Steps.

  #step(song, label) {
    this.#history.step(song, label);
    this.#render();
    this.#keep();
  }

  #undo(redo = false) {
    if (this.#proposal) return notify("info", "Keep or discard the versions first.");
    const label = redo ? this.#history.redoable : this.#history.undoable;
    if (label === null) return;
    if (redo) this.#history.redo();
    else this.#history.undo();
    this.#announce(`${redo ? "Done again" : "Taken back"}: ${label}.`);
    this.#render();
    this.#keep();
  }

  #onTrack({ action, track, value }) {
    const song = this.#song;
    const name = trackNames(this.#displayed.tracks)[track];
    if (action === "mute" || action === "solo") {
      const set = action === "mute" ? this.#muted : this.#soloed;
      if (!set.delete(track)) set.add(track);
      this.#render();
    } else if (this.#proposal) {
      notify("info", "Keep or discard the versions first.");
    } else if (action === "remove") {
      this.#muted.clear();
      this.#soloed.clear();
      this.#rolls.setSelection(new Selection());
      this.#step(model.withoutTrack(song, track), `Remove ${name}`);
    } else if (action === "program") {
      this.#step(model.withTrackFields(song, track, { program: value }), `Change the instrument of ${name}`);
    }
  }

  #selectMore(on) {
    this.#rolls.adding = on;
    find("select-more").setAttribute("aria-pressed", String(on));
  }

  #emptyBars() {
    const { selection } = this.#rolls;
    if (selection.empty || this.#proposal) return;
    const cells = selection.entries().flatMap(([track, bars]) => bars.map((bar) => ({ track, bar, notes: [] })));
    this.#step(model.withCells(this.#song, cells), `Empty ${spellTargets(this.#song, selection)}`);
  }

  // Versions.

  #generate(seed = this.#settings.seed) {
    if (this.#proposal) return;
    const plan = this.#plan();
    if (plan.problem || !this.#info) return this.#complain(plan.problem ?? "The server has not answered yet.");
    this.#propose(Proposal.of(plan, this.#settings.versions, seed, this.#connection), 0);
    this.#announce(`Writing: ${plan.label}.`);
  }

  #plan() {
    const info = this.#info ?? UNKNOWN_MODEL;
    return planOf(this.#song, this.#rolls.selection, this.#settings, info, this.#attributes);
  }

  #propose(proposal, shown) {
    this.#complain("");
    this.#selectMore(false);
    this.#proposal = proposal;
    this.#shown = shown;
    proposal.addEventListener("change", () => this.#onVersions(proposal));
    this.#render();
    this.#rolls.reveal(proposal.plan.targets.extent[0], proposal.plan.targets.tracks()[0]);
    proposal.start();
    this.#keep();
  }

  #onVersions(proposal) {
    if (proposal !== this.#proposal) return;
    const { versions } = proposal;
    if (versions.every(({ state, message }) => state === "failed" && message === versions[0].message)) {
      this.#close();
      this.#complain(versions[0].message);
      return;
    }
    if (!proposal.running) {
      // Nothing came of it: there is nothing to choose from.
      if (versions.every(({ notes }) => notes === 0) && versions.every(({ state }) => state === "stopped")) {
        this.#close();
        this.#announce("Stopped; nothing was written.");
        return;
      }
      const usable = versions.filter(({ notes }) => notes).length;
      this.#announce(`${usable} of ${versions.length} versions are ready.`);
      this.#keep();
    }
    this.#renderSoon();
  }

  #show(number) {
    if (!this.#proposal) return;
    this.#shown = number;
    this.#render();
  }

  #listenTo(number) {
    if (!this.#proposal || number >= this.#proposal.versions.length) return;
    if (this.#transport.playing && this.#shown === number) return this.#transport.pause();
    this.#loops = true;
    this.#show(number);
    if (this.#transport.playing) return;
    this.#transport.position = this.#transport.loop.from;
    this.#transport.play();
  }

  #keepVersion(number = this.#shown) {
    const proposal = this.#proposal;
    const version = proposal?.versions[number];
    if (!version) return;
    if (!version.notes || !["done", "stopped"].includes(version.state)) {
      return notify("info", "This version is not ready yet.");
    }
    const { targets, label } = proposal.plan;
    this.#close();
    this.#rolls.selection = targets;
    this.#step(version.song, label);
    notify("info", `Version ${number + 1} is part of the song now.`, {
      label: "Show the others again",
      act: () => {
        if (this.#proposal || this.#song !== version.song) return;
        this.#history.undo();
        this.#reopen(proposal, number);
      },
    });
    find("rolls").focus({ preventScroll: true });
  }

  #discard() {
    const proposal = this.#proposal;
    const song = this.#song;
    const shown = this.#shown;
    this.#close();
    notify("info", "The versions were discarded.", {
      label: "Bring them back",
      act: () => {
        if (!this.#proposal && this.#song === song) this.#reopen(proposal, shown);
      },
    });
    find("rolls").focus({ preventScroll: true });
  }

  /** A proposal that was left, with what it had. */
  #reopen({ plan, versions }, shown) {
    const whole = versions.map((one) =>
      ["done", "stopped", "failed"].includes(one.state) ? one : { ...one, state: "queued" },
    );
    this.#propose(new Proposal(plan, whole, this.#connection), shown);
  }

  #again() {
    const { plan } = this.#proposal;
    this.#proposal.leave();
    this.#propose(Proposal.of(plan, this.#settings.versions, null, this.#connection), 0);
  }

  #close() {
    this.#proposal?.leave();
    this.#proposal = null;
    this.#render();
    this.#keep();
  }

  #escape() {
    if (this.#proposal?.running) this.#proposal.cancel();
    else if (this.#proposal) this.#discard();
    else this.#rolls.setSelection(new Selection());
  }

  // Playing.

  get #loopRange() {
    if (!this.#loops) return null;
    const song = this.#displayed;
    const starts = model.barStarts(song);
    const extent = (this.#proposal?.plan.targets ?? this.#rolls.selection).extent;
    return extent ? { from: starts[extent[0]], to: starts[extent[1] + 1] } : { from: 0, to: starts.at(-1) };
  }

  #audible(track) {
    return this.#soloed.size ? this.#soloed.has(track) : !this.#muted.has(track);
  }

  #togglePlay() {
    if (this.#transport.playing) this.#transport.pause();
    else if (this.#displayed.bars.length) this.#transport.play();
  }

  #animate() {
    const frame = () => {
      requestAnimationFrame(frame);
      if (this.#transport.playing) this.#renderPlace(true);
    };
    requestAnimationFrame(frame);
  }

  // Keeping.

  /** Keep the work at the end of this turn, so that nothing is lost however soon the page closes. */
  #keep() {
    clearTimeout(this.#keepingLater);
    if (this.#keeping) return;
    this.#keeping = true;
    queueMicrotask(() => {
      this.#keeping = false;
      this.#keepNow();
    });
  }

  /** The same a little later: a slider changes settings many times a second. */
  #keepSoon() {
    clearTimeout(this.#keepingLater);
    this.#keepingLater = setTimeout(() => this.#keep(), KEEP_AFTER_MS);
  }

  async #keepNow() {
    const proposal = this.#proposal && {
      plan: { ...this.#proposal.plan, targets: this.#proposal.plan.targets.entries() },
      versions: this.#proposal.versions,
      shown: this.#shown,
    };
    try {
      const work = { history: this.#history.kept(), settings: this.#settings, proposal };
      await keep(work, this.#song.tracks.length > 0 || this.#history.undoable !== null);
    } catch (error) {
      notify("error", `The browser does not keep the song (${error.message}). Export it before you close the page.`);
    }
  }

  #restoreProposal({ plan, versions, shown }) {
    const targets = new Selection();
    for (const [track, bars] of plan.targets) for (const bar of bars) targets.set(track, bar, true);
    this.#reopen({ plan: { ...plan, targets }, versions }, shown);
  }

  // Showing.

  #renderSoon = oncePerFrame(() => this.#render());

  #render() {
    const song = this.#displayed;
    const proposal = this.#proposal;
    this.#transport.loop = this.#loopRange;
    this.#transport.setSong(song, (track) => !this.#audible(track));
    // First, because what is hidden has no size.
    find("empty").hidden = song.tracks.length > 0;
    find("rolls").hidden = song.tracks.length === 0;
    this.#rolls.show({
      song,
      targets: proposal?.plan.targets ?? null,
      locked: proposal !== null,
      loop: this.#loopRange,
      muted: (track) => this.#muted.has(track),
      soloed: (track) => this.#soloed.has(track),
      audible: (track) => this.#audible(track),
    });
    this.#cards.show(proposal, this.#shown, this.#transport.playing);
    this.#renderTop(song);
    this.#renderWriting();
    this.#renderVersions();
    this.#renderPlace(false);
  }

  #renderTop(song) {
    const name = find("song-name");
    if (name !== document.activeElement) name.value = this.#song.name;
    document.title = `${this.#song.name} – midigpt Studio`;
    const { undoable, redoable } = this.#history;
    button("undo", undoable !== null && !this.#proposal, undoable ? `Undo: ${undoable} (Ctrl+Z)` : "Undo (Ctrl+Z)");
    button("redo", redoable !== null && !this.#proposal, redoable ? `Redo: ${redoable} (Ctrl+Shift+Z)` : "Redo (Ctrl+Shift+Z)");
    button("export", model.noteCount(this.#song) > 0);
    const tracks = song.tracks.length;
    const notes = model.noteCount(song);
    find("facts").textContent = tracks
      ? `${tracks} track${tracks === 1 ? "" : "s"} · ${song.bars.length} bars · ${notes.toLocaleString("en")} notes`
      : "";
    const tempo = find("tempo");
    const varies = song.tempos.length > 1;
    if (tempo !== document.activeElement) tempo.value = Math.round(6e7 / song.tempo);
    tempo.disabled = varies || this.#proposal !== null;
    tempo.title = varies ? "The tempo changes in this song, as its file says." : "Tempo";
    const { up } = this.#connection;
    const pill = find("connection");
    pill.classList.toggle("down", !up);
    pill.classList.toggle("ready", up && this.#info !== null);
    find("connection-text").textContent = up
      ? (this.#info?.checkpoint.replace(/\.(pt|safetensors)$/, "") ?? "Connecting")
      : "Server not reachable, trying again";
    pill.title = up ? "The model that writes" : "Your song is kept in this browser. Everything goes on when the server answers.";
  }

  #renderWriting() {
    const plan = this.#proposal?.plan ?? this.#plan();
    const kinds = plan.problem
      ? this.#song.tracks.some(({ drum }) => drum) && this.#song.tracks.some(({ drum }) => !drum)
        ? ["melodic", "drum"]
        : [this.#song.tracks.some(({ drum }) => drum) ? "drum" : "melodic"]
      : ["melodic", "drum"].filter((kind) =>
          plan.targets.tracks().some((track) => plan.base.tracks[track].drum === (kind === "drum")),
        );
    const target = plan.problem ?? spellTargets(plan.base, plan.targets);
    const bars = plan.problem ? [] : plan.targets.entries().flatMap(([, some]) => some);
    this.#panel.setTarget(target, kinds, plan.problem !== undefined, [...new Set(bars)].sort((one, other) => one - other));
    find("writing").inert = this.#proposal !== null;
    find("writing").classList.toggle("busy", this.#proposal !== null);
    find("generate").disabled = this.#proposal !== null || plan.problem !== undefined || !this.#info;
  }

  #renderVersions() {
    const proposal = this.#proposal;
    find("versions").hidden = !proposal;
    if (!proposal) return;
    const { versions, plan, running } = proposal;
    const ready = versions.filter(({ state }) => state === "done").length;
    find("versions-title").textContent = plan.label;
    const waiting = versions.find(({ state }) => state === "waiting");
    find("versions-state").textContent = running
      ? (waiting ? `${waiting.message} …` : `${ready} of ${versions.length} ready`)
      : "Listen, then keep the one you like";
    find("cancel").hidden = !running;
    find("again").hidden = running;
    find("discard").hidden = running;
    const shown = versions[this.#shown];
    button("keep", Boolean(shown?.notes && ["done", "stopped"].includes(shown.state)));
    find("keep").querySelector("span").textContent = this.#shown < 0 ? "Keep" : `Keep version ${this.#shown + 1}`;
  }

  #renderPlace(follow) {
    const song = this.#displayed;
    const quarter = this.#transport.position;
    const bar = model.barAt(song, quarter);
    const beat = Math.floor(((quarter - model.barStarts(song)[bar]) * song.bars[bar].denominator) / 4 + 1e-6) + 1;
    const seconds = Math.floor(model.secondsAt(song, quarter));
    setText("place", `${bar + 1}.${beat}`);
    setText("time", `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`);
    this.#rolls.setPlayhead(quarter, follow);
    const playing = this.#transport.playing;
    find("play-icon").setAttribute("href", playing ? "#icon-pause" : "#icon-play");
    find("play").setAttribute("aria-label", playing ? "Pause" : "Play");
    find("loop").setAttribute("aria-pressed", String(this.#loops));
  }

  #complain(message) {
    const line = find("writing-error");
    line.textContent = message;
    line.hidden = !message;
  }

  #announce(text) {
    find("announcer").textContent = text;
  }

  #change(fields) {
    this.#settings = { ...this.#settings, ...fields };
    this.#panel.settings = this.#settings;
    this.#render();
    this.#keep();
  }

  // Listening.

  #listen() {
    const onClick = (id, act) => find(id).addEventListener("click", act);
    onClick("new", () => this.#startEmpty());
    onClick("empty-start", () => this.#startEmpty());
    for (const id of ["open", "empty-open"]) onClick(id, () => find("file").click());
    onClick("export", () => this.#export());
    onClick("undo", () => this.#undo());
    onClick("redo", () => this.#undo(true));
    onClick("select-more", () => this.#selectMore(!this.#rolls.adding));
    onClick("zoom-in", () => this.#rolls.zoom(1));
    onClick("zoom-out", () => this.#rolls.zoom(-1));
    onClick("zoom-fit", () => this.#rolls.fit());
    onClick("play", () => this.#togglePlay());
    onClick("to-start", () => this.#toStart());
    onClick("loop", () => this.#toggleLoop());
    onClick("cancel", () => this.#proposal.cancel());
    onClick("again", () => this.#again());
    onClick("discard", () => this.#discard());
    onClick("keep", () => this.#keepVersion());
    onClick("theme", () => this.#toggleTheme());
    onClick("help", () => find("keys").showModal());
    find("volume").addEventListener("input", (event) => {
      this.#transport.volume = (event.target.value / 100) ** 1.5;
    });
    find("song-name").addEventListener("change", (event) => {
      const name = event.target.value.trim() || "Untitled";
      this.#step({ ...this.#song, name }, "Rename the song");
    });
    find("tempo").addEventListener("change", (event) => {
      const beats = Math.min(Math.max(Number(event.target.value) || 120, 20), 300);
      this.#step({ ...this.#song, tempo: Math.round(6e7 / beats), tempos: [] }, `Set the tempo to ${beats}`);
    });
    find("model").addEventListener("change", (event) => {
      this.#change({ model: event.target.value });
      this.#loadModels();
    });
    find("writing").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#generate();
    });
    this.#panel.addEventListener("change", ({ detail }) => {
      this.#settings = detail;
      this.#complain("");
      this.#render();
      this.#keepSoon();
    });
    this.#rolls.addEventListener("select", () => {
      this.#complain("");
      this.#renderSoon();
    });
    this.#rolls.addEventListener("locked", () => this.#mayReplace());
    this.#rolls.addEventListener("zoom", () => this.#renderPlace(false));
    this.#rolls.addEventListener("seek", ({ detail }) => {
      this.#transport.position = detail;
    });
    this.#rolls.addEventListener("track", ({ detail }) => this.#onTrack(detail));
    this.#cards.addEventListener("show", ({ detail }) => this.#show(detail));
    this.#cards.addEventListener("listen", ({ detail }) => this.#listenTo(detail));
    this.#cards.addEventListener("keep", ({ detail }) => this.#keepVersion(detail));
    this.#cards.addEventListener("retry", ({ detail }) => this.#proposal.retry(this.#proposal.versions[detail]));
    this.#transport.addEventListener("change", () => this.#renderSoon());
    this.#connection.addEventListener("change", () => {
      // It may have come back with other models.
      if (this.#connection.up) this.#loadModels();
      this.#announce(this.#connection.up ? "The server answers again." : "The server cannot be reached.");
      this.#render();
    });
    addEventListener("keydown", (event) => this.#key(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#recolour());
  }

  /** early.js gets the files; it has one already if it was quicker than this page. */
  #takeFiles() {
    const { studioFiles } = window;
    studioFiles.open = (file) => this.#open(file);
    if (studioFiles.early) this.#open(studioFiles.early);
  }

  #key(event) {
    if (find("keys").open) return;
    const command = event.ctrlKey || event.metaKey;
    const act = command ? this.#commandKey(event) : this.#plainKey(event);
    if (!act) return;
    event.preventDefault();
    act();
  }

  #commandKey(event) {
    const key = event.key.toLowerCase();
    // A text that is being edited has its own steps.
    if (takesText(event.target) && ["z", "y"].includes(key)) return null;
    if (key === "z") return () => this.#undo(event.shiftKey);
    return {
      y: () => this.#undo(true),
      o: () => find("file").click(),
      s: () => this.#export(),
      enter: () => this.#generate(),
    }[key];
  }

  #plainKey(event) {
    const { key, target } = event;
    if (event.altKey || takesText(target)) return null;
    if (key === "Escape") return () => this.#escape();
    const uses = target.closest("button, select, summary, input, a");
    if (key === " ") return uses ? null : () => this.#togglePlay();
    if (target.closest("select")) return null;
    if (/^[0-8]$/.test(key) && this.#proposal) return () => this.#listenTo(Number(key) - 1);
    if (target.closest("input")) return null;
    return {
      l: () => this.#toggleLoop(),
      L: () => this.#toggleLoop(),
      g: () => this.#generate(),
      G: () => this.#generate(),
      k: () => this.#keepVersion(),
      K: () => this.#keepVersion(),
      Home: () => this.#toStart(),
      Delete: () => this.#emptyBars(),
      Backspace: () => this.#emptyBars(),
      "+": () => this.#rolls.zoom(1),
      "=": () => this.#rolls.zoom(1),
      "-": () => this.#rolls.zoom(-1),
      0: () => this.#rolls.fit(),
      "?": () => find("keys").showModal(),
    }[key];
  }

  #toStart() {
    this.#transport.position = this.#loopRange?.from ?? 0;
    this.#rolls.reveal(model.barAt(this.#displayed, this.#transport.position));
  }

  #toggleLoop() {
    this.#loops = !this.#loops;
    this.#render();
  }

  #toggleTheme() {
    const dark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    const chosen = dark ? "light" : "dark";
    applyTheme(chosen);
    keepTheme(chosen);
    this.#recolour();
  }

  #recolour() {
    this.#rolls.recolour();
    this.#cards.recolour();
  }
}

function applyTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

function button(id, enabled, title = null) {
  const found = find(id);
  found.disabled = !enabled;
  if (title) found.title = title;
}

function setText(id, text) {
  const found = find(id);
  if (found.textContent !== text) found.textContent = text;
}

function once(act) {
  let done = false;
  return () => {
    if (!done) act();
    done = true;
  };
}

function oncePerFrame(act) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      act();
    });
  };
}

const theme = keptTheme();
if (theme) applyTheme(theme);
const { work, others } = await claim().catch((error) => {
  notify("error", `What the browser kept cannot be read (${error.message}).`);
  return { work: null, others: false };
});
if (!work && others) notify("info", "Your song is open in another window. This window has a song of its own.");
new Studio(work);
window.studioStarted();
