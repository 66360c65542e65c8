// Draws the curves of a report, and its samples with their players. Every text from the run goes into text nodes.
"use strict";
(() => {
  const values = JSON.parse(document.getElementById("values").textContent);
  const root = document.documentElement;
  const redraws = [];

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "class") element.className = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  function svg(tag, attributes, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const whole = (value) => Math.round(value).toLocaleString("en-US");

  // --- theme ---

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const theme = document.getElementById("theme");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  function showTheme() {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
    for (const redraw of redraws) redraw();
  }
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  dark.addEventListener("change", showTheme);

  // --- curves ---

  const FORMS = {
    number: (value) => String(Number(value.toPrecision(4))),
    rate: (value) => (value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(2)))),
    count: whole,
    percent: (value) => `${Number(value.toPrecision(3))} %`,
  };
  const HEIGHT = 210, TOP = 8, BOTTOM = 24;

  function range(chart) {
    let low = Infinity, high = -Infinity, first = Infinity, last = -Infinity;
    for (const line of chart.lines) {
      line.x.forEach((x, place) => {
        const y = line.y[place];
        first = Math.min(first, x);
        last = Math.max(last, x);
        if (y === null || (chart.logarithmic && y <= 0)) return;
        low = Math.min(low, y);
        high = Math.max(high, y);
      });
    }
    if (low > high) [low, high] = chart.logarithmic ? [1, 10] : [0, 1];
    if (chart.fromZero) low = Math.min(low, 0);
    if (chart.logarithmic) {
      if (low === high) [low, high] = [low / 2, high * 2];
    } else {
      if (low === high) high = low + (Math.abs(low) || 1);
      high += 0.05 * (high - low);
    }
    return { low, high, first, last: last > first ? last : first + 1 };
  }

  function steps(low, high, count) {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
    const ticks = [];
    for (let place = Math.ceil(low / step - 1e-9); place * step <= high * (1 + 1e-9); place++) {
      ticks.push(Number((place * step).toPrecision(12)));
      if (ticks.length > 50) break;
    }
    return ticks;
  }

  function powers(low, high) {
    for (const factors of [[1], [1, 2, 5], [1, 1.5, 2, 3, 5, 7]]) {
      const ticks = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
        for (const factor of factors) {
          const tick = Number((factor * 10 ** power).toPrecision(3));
          if (tick >= low && tick <= high) ticks.push(tick);
        }
      }
      if (ticks.length >= 3) {
        const every = Math.ceil(ticks.length / 6);
        return ticks.filter((_, place) => place % every === 0);
      }
    }
    return steps(low, high, 3);
  }

  function short(value) {
    const size = Math.abs(value);
    if (size >= 1e9) return `${Number((value / 1e9).toPrecision(3))}G`;
    if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
    if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
    return whole(value);
  }

  function drawChart(chart, plot, legend) {
    const write = FORMS[chart.form] || FORMS.number;
    const { low, high, first, last } = range(chart);
    const wanted = chart.logarithmic ? powers(low, high) : steps(low, high, 4);
    const label = (value) => (chart.form === "count" ? short(value) : write(value));
    const left = 14 + 6.4 * Math.max(...wanted.map((value) => label(value).length));
    const width = Math.max(plot.clientWidth, 160);
    const right = width - 8;
    const scale = chart.logarithmic ? Math.log : (value) => value;
    const px = (x) => left + ((x - first) / (last - first)) * (right - left);
    const py = (y) => HEIGHT - BOTTOM - ((scale(y) - scale(low)) / (scale(high) - scale(low))) * (HEIGHT - TOP - BOTTOM);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, "aria-hidden": "true" });
    for (const tick of wanted) {
      picture.append(svg("line", { class: "grid", x1: left, x2: right, y1: py(tick), y2: py(tick) }));
      picture.append(svg("text", { x: left - 6, y: py(tick) + 4, "text-anchor": "end" }, label(tick)));
    }
    for (const tick of steps(first, last, Math.max(3, Math.floor((right - left) / 90)))) {
      const edge = px(tick) > right - 14 ? "end" : "middle";
      picture.append(svg("text", { x: edge === "end" ? right : px(tick), y: HEIGHT - 6, "text-anchor": edge }, short(tick)));
    }
    picture.append(svg("line", { class: "axis", x1: left, x2: right, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }));
    for (const line of [...chart.lines].sort((a, b) => b.pale - a.pale)) {
      let path = "", pen = false;
      const stroke = `var(--c${line.colour})`;
      line.x.forEach((x, place) => {
        const y = line.y[place];
        if (y === null || (chart.logarithmic && y <= 0)) {
          pen = false;
          return;
        }
        path += `${pen ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`;
        pen = true;
        if (line.dots) {
          const dot = svg("circle", { cx: px(x), cy: py(y), r: 2.6 });
          dot.style.fill = stroke;
          picture.append(dot);
        }
      });
      const curve = svg("path", { d: path, class: line.pale ? "pale" : "" });
      curve.style.stroke = stroke;
      picture.append(curve);
    }
    const cursor = svg("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    picture.append(cursor);
    plot.replaceChildren(picture);

    const shown = chart.lines.filter((line) => !line.pale);
    function nearest(line, x) {
      let start = 0, end = line.x.length - 1;
      while (end - start > 1) {
        const middle = (start + end) >> 1;
        if (line.x[middle] <= x) start = middle;
        else end = middle;
      }
      return Math.abs(line.x[end] - x) < Math.abs(line.x[start] - x) ? end : start;
    }
    function read(x) {
      const parts = shown.map((line) => {
        const swatch = make("i");
        swatch.style.background = `var(--c${line.colour})`;
        const part = make("span", {}, swatch, line.label);
        if (x !== null && line.x.length) {
          const y = line.y[nearest(line, x)];
          part.append(" ", make("b", {}, y === null ? "–" : write(y)));
        }
        return part;
      });
      if (x !== null) parts.unshift(make("span", {}, "step ", make("b", {}, whole(x))));
      legend.replaceChildren(...parts);
    }
    function point(x) {
      const longest = shown.reduce((most, line) => (line.x.length > most.x.length ? line : most), shown[0]);
      plot.at = nearest(longest, x);
      const there = longest.x[plot.at];
      cursor.setAttribute("visibility", "visible");
      cursor.setAttribute("x1", px(there));
      cursor.setAttribute("x2", px(there));
      read(there);
    }
    function leave() {
      cursor.setAttribute("visibility", "hidden");
      read(null);
    }
    plot.onpointermove = plot.onpointerdown = (event) => {
      const place = event.clientX - plot.getBoundingClientRect().left;
      point(first + ((place - left) / (right - left)) * (last - first));
    };
    plot.onpointerleave = leave;
    plot.onblur = leave;
    plot.onkeydown = (event) => {
      const longest = shown.reduce((most, line) => (line.x.length > most.x.length ? line : most), shown[0]);
      const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: 20, PageDown: -20 }[event.key];
      const to = { Home: 0, End: longest.x.length - 1 }[event.key];
      if (by === undefined && to === undefined) return;
      event.preventDefault();
      const from = plot.at === undefined ? longest.x.length - 1 : plot.at;
      const place = to === undefined ? Math.min(Math.max(from + by, 0), longest.x.length - 1) : to;
      point(longest.x[place]);
    };
    read(null);
  }

  const charts = document.getElementById("charts");
  for (const chart of charts ? values.charts : []) {
    const legend = make("div", { class: "legend", role: "status" });
    const plot = make("div", { class: "plot", tabindex: "0", role: "img", "aria-label": `Chart of ${chart.title} over steps` });
    charts.append(make("figure", {}, make("figcaption", {}, chart.title), legend, plot));
    const draw = () => drawChart(chart, plot, legend);
    new ResizeObserver(draw).observe(plot);
  }

  // --- playing ---

  let playing = null; // what plays now: one thing at a time
  function stopAll() {
    if (playing) playing.stop();
    playing = null;
  }

  const FAMILY_WAVES = ["triangle", "sine", "square", "triangle", "triangle", "sawtooth", "sawtooth", "sawtooth",
    "square", "sine", "square", "sawtooth", "sawtooth", "triangle", "sine", "sawtooth"];
  const DECAYING = new Set([0, 1, 3, 4, 13, 14]); // families whose notes die away by themselves
  let context = null, noise = null;

  function openAudio() {
    if (!context) {
      context = new AudioContext();
      noise = context.createBuffer(1, context.sampleRate, context.sampleRate);
      const samples = noise.getChannelData(0);
      let state = 1;
      for (let place = 0; place < samples.length; place++) {
        state = (state * 48271) % 2147483647;
        samples[place] = (state / 2147483647) * 2 - 1;
      }
    }
    return context.resume();
  }

  function sound(out, track, at, duration, pitch, velocity) {
    const level = context.createGain();
    level.connect(out);
    const loud = 0.22 * (velocity / 127) ** 1.4;
    if (track.drum) {
      const isKick = pitch === 35 || pitch === 36;
      const isTom = [41, 43, 45, 47, 48, 50].includes(pitch);
      const length = isKick ? 0.22 : isTom ? 0.28 : [46, 49, 51, 52, 55, 57, 59].includes(pitch) ? 0.45 : pitch >= 37 && pitch <= 40 ? 0.16 : 0.06;
      level.gain.setValueAtTime(loud * (isKick ? 2.4 : isTom ? 1.6 : 0.9), at);
      level.gain.exponentialRampToValueAtTime(0.0005, at + length);
      let source;
      if (isKick || isTom) {
        source = context.createOscillator();
        const start = isKick ? 150 : 90 + 5 * (pitch - 40);
        source.frequency.setValueAtTime(start * (isKick ? 1 : 1.5), at);
        source.frequency.exponentialRampToValueAtTime(isKick ? 45 : start, at + length);
        source.connect(level);
      } else {
        source = context.createBufferSource();
        source.buffer = noise;
        const filter = context.createBiquadFilter();
        filter.type = pitch >= 37 && pitch <= 40 ? "bandpass" : "highpass";
        filter.frequency.value = pitch >= 37 && pitch <= 40 ? 1800 : 7000;
        source.connect(filter).connect(level);
      }
      source.start(at);
      source.stop(at + length + 0.02);
      return;
    }
    const family = track.program >> 3;
    const length = Math.max(duration, 0.05);
    const filter = context.createBiquadFilter();
    filter.type = "lowpass";
    const frequency = 440 * 2 ** ((pitch - 69) / 12);
    filter.frequency.value = Math.min(frequency * 6 + 400, 9000);
    filter.connect(level);
    const source = context.createOscillator();
    source.type = FAMILY_WAVES[family] || "triangle";
    source.frequency.value = frequency;
    source.connect(filter);
    const peak = loud * (source.type === "sawtooth" || source.type === "square" ? 0.55 : 1);
    level.gain.setValueAtTime(0, at);
    level.gain.linearRampToValueAtTime(peak, at + 0.008);
    if (DECAYING.has(family)) level.gain.setTargetAtTime(peak * 0.15, at + 0.01, 0.45);
    level.gain.setTargetAtTime(0, at + length, 0.05);
    source.start(at);
    source.stop(at + length + 0.35);
  }

  function notesOf(sample) {
    const quarter = sample.tempo / 1e6;
    const notes = [];
    for (const track of sample.tracks) {
      for (let place = 0; place + 4 < track.notes.length; place += 5) {
        const [start, duration, pitch, velocity] = track.notes.slice(place, place + 4);
        notes.push({ track, start: start * quarter, duration: duration * quarter, pitch, velocity });
      }
    }
    return notes.sort((a, b) => a.start - b.start);
  }

  // Plays notes with oscillators. Notes are scheduled shortly before they sound, however long the piece is.
  function playNotes(sample, from, onEnd) {
    const notes = notesOf(sample);
    const out = context.createDynamicsCompressor();
    const master = context.createGain();
    master.gain.value = 0.9;
    out.connect(master).connect(context.destination);
    const start = context.currentTime + 0.06 - from;
    let next = notes.findIndex((note) => note.start >= from - 1e-6);
    if (next < 0) next = notes.length;
    const timer = setInterval(schedule, 60);
    function schedule() {
      while (next < notes.length && notes[next].start + start < context.currentTime + 0.3) {
        const note = notes[next++];
        sound(out, note.track, Math.max(note.start + start, context.currentTime), note.duration, note.pitch, note.velocity);
      }
      if (context.currentTime - start > sample.seconds + 0.3) onEnd();
    }
    schedule();
    return {
      position: () => context.currentTime - start,
      stop: () => {
        clearInterval(timer);
        master.gain.setTargetAtTime(0, context.currentTime, 0.02);
        setTimeout(() => master.disconnect(), 200);
      },
    };
  }

  function playRecording(sample, from, onEnd) {
    const audio = new Audio(sample.audio);
    audio.currentTime = from;
    audio.onended = onEnd;
    audio.onerror = onEnd;
    audio.play().catch(onEnd);
    return { position: () => audio.currentTime, stop: () => { audio.onended = null; audio.pause(); } };
  }

  // --- piano rolls ---

  function drawRoll(canvas, sample, seconds) {
    const width = Math.max(canvas.clientWidth, 160);
    const ratio = window.devicePixelRatio || 1;
    const lanes = sample.tracks.map((track) => {
      let low = 127, high = 0;
      for (let place = 2; place < track.notes.length; place += 5) {
        low = Math.min(low, track.notes[place]);
        high = Math.max(high, track.notes[place]);
      }
      if (low > high) [low, high] = [60, 60];
      const missing = Math.max(13 - (high - low + 3), 0);
      low -= 1 + (missing >> 1);
      high += 1 + ((missing + 1) >> 1);
      return { track, low, high, height: Math.min((high - low + 1) * 6, 130) };
    });
    const label = 19, gap = 6, head = 14;
    const height = head + lanes.reduce((sum, lane) => sum + lane.height + label + gap, 0);
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const draw = canvas.getContext("2d");
    draw.scale(ratio, ratio);
    const quarters = sample.quarters || 1;
    const px = (quarter) => (quarter / quarters) * width;
    const ink = colour("--ink"), soft = colour("--soft"), line = colour("--line");
    draw.font = "11px system-ui, sans-serif";
    draw.textBaseline = "middle";
    let top = head;
    lanes.forEach(({ track, low, high, height: tall }, index) => {
      draw.fillStyle = ink;
      draw.fillText(track.label, 2, top + label / 2, width - 4);
      top += label;
      draw.fillStyle = colour("--lane");
      draw.fillRect(0, top, width, tall);
      draw.fillStyle = colour("--written");
      for (const bar of track.written) draw.fillRect(px(track.bars[bar]), top, px(track.bars[bar + 1]) - px(track.bars[bar]), tall);
      draw.strokeStyle = line;
      draw.lineWidth = 1;
      track.bars.forEach((start, bar) => {
        const x = Math.min(Math.round(px(start)) + 0.5, width - 0.5);
        draw.beginPath();
        draw.moveTo(x, top);
        draw.lineTo(x, top + tall);
        draw.stroke();
        if (index === 0 && bar < track.bars.length - 1 && px(track.bars[bar + 1]) - px(start) > 16) {
          draw.fillStyle = soft;
          draw.fillText(String(bar), x + 2, head / 2);
        }
      });
      const row = tall / (high - low + 1);
      const old = colour("--old"), fresh = colour("--new");
      for (let place = 0; place + 4 < track.notes.length; place += 5) {
        const [start, duration, pitch, , isNew] = track.notes.slice(place, place + 5);
        draw.fillStyle = isNew ? fresh : old;
        const x = px(start);
        draw.fillRect(x, top + (high - pitch) * row, Math.max(px(start + duration) - x - 1, 2), Math.max(row - 1, 2));
      }
      top += tall + gap;
    });
    if (seconds !== null) {
      const x = Math.min((seconds / sample.seconds) * width, width - 1);
      draw.fillStyle = colour("--accent");
      draw.fillRect(x, head, 2, height - head);
    }
  }

  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

  function card(name, samples) {
    const title = make("p", { class: "note" });
    const play = make("button", { type: "button" }, "Play");
    const slider = make("input", { type: "range", min: "0", max: String(samples.length - 1), value: String(samples.length - 1), "aria-label": `Step of ${name}` });
    const step = make("output");
    const time = make("span");
    const canvas = make("canvas", { role: "img", tabindex: "-1" });
    const controls = make("div", { class: "controls" }, play);
    if (samples.length > 1) controls.append(make("label", {}, "step", slider, step));
    else controls.append(make("span", {}, "step ", step));
    controls.append(time);
    const key = make("p", { class: "note" });
    let sample = null, at = 0, running = null, frame = 0, marked = false;

    function show(index) {
      halt();
      sample = samples[index];
      at = 0;
      marked = false;
      step.textContent = whole(sample.step);
      title.textContent = sample.title;
      const fresh = sample.tracks.some((track) => track.written.length);
      key.replaceChildren();
      if (fresh) key.append(make("span", { class: "key new" }), "written by the model", make("span", { class: "key old" }), "given. ");
      key.append(sample.audio ? "Recorded sound." : "Played by this page with simple tones.");
      canvas.setAttribute("aria-label", `Piano roll of ${name} at step ${sample.step}: ${sample.tracks.map((track) => track.label).join(", ")}`);
      refresh();
    }
    function refresh() {
      time.textContent = `${clock(at)} / ${clock(sample.seconds)}`;
      drawRoll(canvas, sample, marked ? at : null);
    }
    function tick() {
      if (!running) return;
      at = Math.min(Math.max(running.position(), 0), sample.seconds);
      refresh();
      frame = requestAnimationFrame(tick);
    }
    function halt() {
      if (!running) return;
      cancelAnimationFrame(frame);
      const ended = running;
      running = null;
      ended.stop();
      if (playing && playing.of === canvas) playing = null;
      play.textContent = "Play";
      refresh();
    }
    async function start() {
      stopAll();
      if (at >= sample.seconds - 0.05) at = 0;
      marked = true;
      play.textContent = "Stop";
      if (!sample.audio) await openAudio();
      const end = () => { at = 0; marked = false; halt(); };
      running = sample.audio ? playRecording(sample, at, end) : playNotes(sample, at, end);
      playing = { of: canvas, stop: halt };
      tick();
    }
    play.addEventListener("click", () => (running ? halt() : start()));
    slider.addEventListener("input", () => show(Number(slider.value)));
    canvas.addEventListener("click", (event) => {
      const box = canvas.getBoundingClientRect();
      const was = running;
      halt();
      at = ((event.clientX - box.left) / box.width) * sample.seconds;
      marked = true;
      if (was) start();
      else refresh();
    });
    redraws.push(() => sample && refresh());
    const box = make("article", { class: "sample" }, make("h3", {}, name), title, controls, canvas, key);
    show(samples.length - 1);
    let width = 0;
    new ResizeObserver(() => {
      if (canvas.clientWidth === width) return;
      width = canvas.clientWidth;
      refresh();
    }).observe(canvas);
    return box;
  }

  const place = document.getElementById("samples");
  if (place) {
    const byName = new Map();
    for (const sample of values.samples) {
      sample.quarters = Math.max(...sample.tracks.map((track) => track.bars[track.bars.length - 1] || 0), 0);
      sample.seconds = Math.max((sample.quarters * sample.tempo) / 1e6, 0.1);
      if (!byName.has(sample.name)) byName.set(sample.name, []);
      byName.get(sample.name).push(sample);
    }
    for (const [name, samples] of byName) place.append(card(name, samples));
  }
  showTheme();
})();
