// A small synthesizer: a voice for each family of General MIDI, and drums made of noise and falling tones.

const FAMILY_SIZE = 8;
const LOUDEST = 0.34;
const MOST_VOICES = 90;

// Per family: strengths of the harmonics, seconds of the envelope (sustain is a level), and how bright the filter opens,
// as a multiple of the note's frequency. `spread` detunes a second oscillator, in cents.
const VOICES = [
  { partials: [1, 0.55, 0.28, 0.2, 0.1, 0.07], attack: 0.003, decay: 1.6, sustain: 0, release: 0.18, bright: 6 },
  { partials: [1, 0, 0, 0.35, 0, 0, 0.12], attack: 0.002, decay: 0.9, sustain: 0, release: 0.5, bright: 12 },
  { partials: [1, 0.8, 0.5, 0.35, 0, 0.25, 0, 0.2], attack: 0.01, decay: 0.1, sustain: 0.8, release: 0.06, bright: 9 },
  { partials: [1, 0.7, 0.45, 0.3, 0.2, 0.12], attack: 0.003, decay: 0.9, sustain: 0, release: 0.12, bright: 5 },
  { partials: [1, 0.6, 0.3, 0.12], attack: 0.004, decay: 0.9, sustain: 0.25, release: 0.08, bright: 4, gain: 1.3 },
  { partials: [1, 0.6, 0.45, 0.3, 0.22, 0.15], attack: 0.07, decay: 0.3, sustain: 0.8, release: 0.2, bright: 5, spread: 7 },
  { partials: [1, 0.5, 0.4, 0.2, 0.15], attack: 0.11, decay: 0.4, sustain: 0.8, release: 0.35, bright: 4, spread: 9 },
  { partials: [1, 0.85, 0.7, 0.5, 0.35, 0.25, 0.15], attack: 0.035, decay: 0.2, sustain: 0.75, release: 0.1, bright: 4 },
  { partials: [1, 0.15, 0.6, 0.1, 0.4, 0.08, 0.2], attack: 0.03, decay: 0.2, sustain: 0.8, release: 0.09, bright: 5 },
  { partials: [1, 0.2, 0.06], attack: 0.045, decay: 0.2, sustain: 0.85, release: 0.1, bright: 6 },
  { partials: [1, 0.5, 0.33, 0.25, 0.2, 0.16, 0.14], attack: 0.006, decay: 0.3, sustain: 0.6, release: 0.1, bright: 4, spread: 6 },
  { partials: [1, 0.4, 0.25, 0.12], attack: 0.25, decay: 0.6, sustain: 0.75, release: 0.6, bright: 3, spread: 12 },
  { partials: [1, 0, 0.4, 0, 0.2, 0, 0.1], attack: 0.1, decay: 0.8, sustain: 0.4, release: 0.6, bright: 5, spread: 15 },
  { partials: [1, 0.6, 0.5, 0.35, 0.25, 0.2], attack: 0.003, decay: 0.7, sustain: 0, release: 0.15, bright: 7 },
  { partials: [1, 0, 0.3, 0, 0, 0.2], attack: 0.002, decay: 0.4, sustain: 0, release: 0.2, bright: 8 },
  { partials: [1, 0.2, 0.1], attack: 0.1, decay: 0.6, sustain: 0.4, release: 0.4, bright: 3, spread: 20 },
];

// Drums by pitch. tone: [from Hz, to Hz, seconds, level]; noise: [filter type, Hz, seconds, level].
const KICK = { tone: [140, 46, 0.32, 1], noise: ["lowpass", 1800, 0.02, 0.35] };
const SNARE = { tone: [220, 160, 0.13, 0.5], noise: ["highpass", 1500, 0.19, 0.7] };
const CLAP = { noise: ["bandpass", 1300, 0.2, 1] };
const CLOSED_HAT = { noise: ["highpass", 7500, 0.06, 0.42] };
const OPEN_HAT = { noise: ["highpass", 7000, 0.38, 0.42] };
const CRASH = { noise: ["highpass", 4200, 1.5, 0.55] };
const RIDE = { noise: ["highpass", 6500, 0.55, 0.3], tone: [3200, 3180, 0.3, 0.05] };
const RIM = { tone: [820, 760, 0.05, 0.5], noise: ["bandpass", 2400, 0.03, 0.5] };
const SHAKER = { noise: ["highpass", 5200, 0.07, 0.34] };
const tom = (from) => ({ tone: [from, from * 0.62, 0.32, 0.85], noise: ["lowpass", 900, 0.05, 0.12] });
const wood = (hertz) => ({ tone: [hertz, hertz * 0.98, 0.09, 0.5] });
const DRUMS = {
  35: KICK, 36: KICK, 37: RIM, 38: SNARE, 39: CLAP, 40: SNARE, 41: tom(95), 42: CLOSED_HAT, 43: tom(115),
  44: CLOSED_HAT, 45: tom(140), 46: OPEN_HAT, 47: tom(170), 48: tom(205), 49: CRASH, 50: tom(240), 51: RIDE,
  52: CRASH, 53: RIDE, 54: SHAKER, 55: CRASH, 56: wood(560), 57: CRASH, 59: RIDE, 60: wood(400), 61: wood(300),
  62: wood(350), 63: wood(330), 64: wood(220), 69: SHAKER, 70: SHAKER, 75: wood(2400), 76: wood(950), 77: wood(720),
  80: OPEN_HAT, 81: OPEN_HAT, 82: SHAKER,
};

export class Synth {
  #context;
  #input;
  #master;
  #noise;
  #waves = new Map();
  #sounding = new Set();

  /** `context` is an AudioContext. */
  constructor(context) {
    this.#context = context;
    const compressor = new DynamicsCompressorNode(context, { threshold: -16, ratio: 5, release: 0.2 });
    this.#master = new GainNode(context, { gain: 0.9 });
    this.#input = new GainNode(context);
    const echo = new ConvolverNode(context, { buffer: roomOf(context) });
    const wet = new GainNode(context, { gain: 0.16 });
    this.#input.connect(compressor);
    this.#input.connect(echo).connect(wet).connect(compressor);
    compressor.connect(this.#master).connect(context.destination);
    this.#noise = noiseOf(context, 2);
  }

  set volume(level) {
    this.#master.gain.setTargetAtTime(level, this.#context.currentTime, 0.02);
  }

  /** Sound a note: `when` in seconds of the context's clock, `seconds` long, `pan` from -1 to 1. */
  play({ program, drum }, { pitch, velocity }, when, seconds, pan) {
    if (this.#sounding.size >= MOST_VOICES) return;
    const place = new StereoPannerNode(this.#context, { pan });
    const level = LOUDEST * (velocity / 127) ** 1.6;
    const sources = drum
      ? this.#drum(DRUMS[pitch] ?? wood(200 + 12 * pitch), level, when, place)
      : this.#tone(VOICES[Math.floor(program / FAMILY_SIZE)], pitch, level, when, seconds, place);
    place.connect(this.#input);
    const voice = { sources, place };
    this.#sounding.add(voice);
    sources[0].onended = () => {
      place.disconnect();
      this.#sounding.delete(voice);
    };
  }

  /** End all notes, those that are still to come too. */
  silence() {
    const now = this.#context.currentTime;
    for (const { sources, place } of this.#sounding) {
      const fade = new GainNode(this.#context);
      place.disconnect();
      place.connect(fade).connect(this.#input);
      fade.gain.setTargetAtTime(0, now, 0.012);
      for (const source of sources) source.stop(now + 0.06);
    }
    this.#sounding.clear();
  }

  #tone(voice, pitch, level, when, seconds, output) {
    const { attack, decay, sustain, release, bright, spread = 0, gain = 1 } = voice;
    const frequency = 440 * 2 ** ((pitch - 69) / 12);
    const end = when + Math.max(seconds, attack + 0.02);
    // High notes die away sooner, as on strings.
    const fall = decay * Math.min(2, Math.max(0.35, 2 ** ((60 - pitch) / 24)));
    const envelope = new GainNode(this.#context, { gain: 0 });
    envelope.gain.setValueAtTime(0, when);
    envelope.gain.linearRampToValueAtTime(level * gain, when + attack);
    envelope.gain.setTargetAtTime(level * gain * sustain, when + attack, fall / 2.5);
    envelope.gain.setTargetAtTime(0, end, release / 3);
    const filter = new BiquadFilterNode(this.#context, { type: "lowpass", Q: 0.4 });
    const open = Math.min(frequency * bright, 15_000);
    filter.frequency.setValueAtTime(open, when);
    filter.frequency.setTargetAtTime(Math.max(open * 0.45, 500), when + attack, fall / 2);
    filter.connect(envelope).connect(output);
    return (spread ? [spread, -spread] : [0]).map((detune) => {
      const source = new OscillatorNode(this.#context, { frequency, detune, periodicWave: this.#wave(voice.partials) });
      source.connect(filter);
      source.start(when);
      source.stop(end + release * 1.5);
      return source;
    });
  }

  #drum({ tone, noise }, level, when, output) {
    const sources = [];
    if (tone) {
      const [from, to, seconds, strength] = tone;
      const source = new OscillatorNode(this.#context, { frequency: from });
      source.frequency.setValueAtTime(from, when);
      source.frequency.exponentialRampToValueAtTime(to, when + seconds * 0.5);
      source.connect(this.#hit(level * strength * 1.5, when, seconds)).connect(output);
      source.start(when);
      source.stop(when + seconds * 1.2);
      sources.push(source);
    }
    if (noise) {
      const [type, frequency, seconds, strength] = noise;
      const source = new AudioBufferSourceNode(this.#context, { buffer: this.#noise, loop: true });
      const filter = new BiquadFilterNode(this.#context, { type, frequency, Q: 0.8 });
      source.connect(filter).connect(this.#hit(level * strength, when, seconds)).connect(output);
      source.start(when, (when * 7.3) % 1.5);
      source.stop(when + seconds * 1.2);
      sources.push(source);
    }
    // The one that ends last tells that the hit is over.
    return sources.sort((one, other) => (other.buffer ? 1 : 0) - (one.buffer ? 1 : 0));
  }

  #hit(level, when, seconds) {
    const envelope = new GainNode(this.#context, { gain: 0 });
    envelope.gain.setValueAtTime(0, when);
    envelope.gain.linearRampToValueAtTime(level, when + 0.001);
    envelope.gain.setTargetAtTime(0, when + 0.001, seconds / 4);
    return envelope;
  }

  #wave(partials) {
    let wave = this.#waves.get(partials);
    if (!wave) {
      const imag = new Float32Array([0, ...partials]);
      wave = new PeriodicWave(this.#context, { real: new Float32Array(imag.length), imag });
      this.#waves.set(partials, wave);
    }
    return wave;
  }
}

function noiseOf(context, seconds) {
  const buffer = new AudioBuffer({ length: seconds * context.sampleRate, sampleRate: context.sampleRate });
  const samples = buffer.getChannelData(0);
  for (let index = 0; index < samples.length; index++) samples[index] = 2 * Math.random() - 1;
  return buffer;
}

/** The answer of a small room: noise that dies away. */
function roomOf(context) {
  const length = Math.floor(1.1 * context.sampleRate);
  const buffer = new AudioBuffer({ length, numberOfChannels: 2, sampleRate: context.sampleRate });
  for (let channel = 0; channel < 2; channel++) {
    const samples = buffer.getChannelData(channel);
    for (let index = 0; index < length; index++) {
      samples[index] = (2 * Math.random() - 1) * (1 - index / length) ** 3.2;
    }
  }
  return buffer;
}
