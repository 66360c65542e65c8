// The server: its endpoints, its errors, and whether it can be reached.

/** The server answered that it cannot do what was asked; `message` is its own text. */
export class Refusal extends Error {
  constructor(status, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** No answer came, or it broke off. */
export class Unreachable extends Error {}

const SOON_MS = 1_000;
const LATER_MS = 20_000;
const MOST_WAITS_MS = 8_000;

/** Watches whether the server answers. Fires "change" when `up` does. */
export class Connection extends EventTarget {
  up = true;
  #timer = 0;
  #failures = 0;

  constructor() {
    super();
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
    this.#again();
  }

  /** Ask now. */
  async look() {
    clearTimeout(this.#timer);
    try {
      await ask("models");
      this.#failures = 0;
      this.#set(true);
    } catch (error) {
      // A server that refuses is there.
      this.#failures += error instanceof Unreachable ? 1 : 0;
      this.#set(!(error instanceof Unreachable));
    }
    this.#again();
  }

  /** `act()`; where the server cannot be reached or is full, again as soon as it can. `signal` ends the waiting. */
  async persist(act, { signal, waiting = () => {} } = {}) {
    for (;;) {
      signal?.throwIfAborted();
      try {
        const value = await act();
        this.#set(true);
        return value;
      } catch (error) {
        if (error instanceof Unreachable) {
          this.#set(false);
          this.#again();
          waiting("Waiting for the server");
          await this.#whenUp(signal);
        } else if (error instanceof Refusal && error.status === 503) {
          waiting("The server is busy");
          await pause(1000 * (error.retryAfter || 5), signal);
        } else {
          throw error;
        }
      }
    }
  }

  #whenUp(signal) {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (!this.up) return;
        this.removeEventListener("change", look);
        resolve();
      };
      this.addEventListener("change", look);
      signal?.addEventListener("abort", () => {
        this.removeEventListener("change", look);
        reject(signal.reason);
      });
      look();
    });
  }

  #set(up) {
    if (up === this.up) return;
    this.up = up;
    this.dispatchEvent(new Event("change"));
  }

  #again() {
    clearTimeout(this.#timer);
    const wait = this.up ? LATER_MS : Math.min(SOON_MS * 2 ** Math.min(this.#failures, 6), MOST_WAITS_MS);
    this.#timer = setTimeout(() => (document.hidden ? this.#again() : this.look()), wait);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

export function models() {
  return ask("models");
}

export function info(model) {
  return ask(`info?model=${encodeURIComponent(model)}`);
}

/** A MIDI file as the native reader reads it. Refused with the reader's reason. */
export function readMidi(bytes, name) {
  return ask(`studio/read?name=${encodeURIComponent(name)}`, {
    method: "POST",
    headers: { "Content-Type": "audio/midi" },
    body: bytes,
  });
}

/** {bytes, remarks}: the song as a MIDI file; with `original`, that file with the song's notes. */
export async function exportMidi(score, original) {
  const like = original ? toBase64(original) : null;
  const answer = await ask("studio/export", json({ score, like }));
  return { bytes: fromBase64(answer.midi), remarks: answer.remarks };
}

export function cancel(requestId) {
  return ask(`generate/${encodeURIComponent(requestId)}/cancel`, json({}));
}

/** The frames of a stream of `POST /generate`, one after another; the last is of type done, cancelled or error. */
export async function* generate(body, signal) {
  const response = await answered("generate", { ...json({ ...body, stream: true }), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      throw signal?.aborted ? signal.reason : new Unreachable("the stream broke off", { cause: error });
    }
    if (part.done) throw new Unreachable("the stream ended early");
    text += part.value;
    const frames = text.split("\n\n");
    text = frames.pop();
    for (const frame of frames) {
      if (!frame.startsWith("data:")) continue;
      const content = JSON.parse(frame.slice(5));
      yield content;
      if (["done", "cancelled", "error"].includes(content.type)) return;
    }
  }
}

async function ask(path, options) {
  const response = await answered(path, options);
  try {
    return await response.json();
  } catch (error) {
    throw new Unreachable("the answer broke off", { cause: error });
  }
}

/** The response to a request that was accepted. Throws Refusal or Unreachable. */
async function answered(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw options.signal.reason;
    throw new Unreachable("the server does not answer", { cause: error });
  }
  if (response.ok) return response;
  const detail = await response.json().then((body) => body.detail, () => null);
  throw new Refusal(response.status, spelled(detail, response.status), Number(response.headers.get("Retry-After")));
}

function spelled(detail, status) {
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail)) return detail.map((one) => `${one.loc?.join(".")}: ${one.msg}`).join(" ");
  return `The server answered with status ${status}.`;
}

function json(body) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

function toBase64(bytes) {
  let text = "";
  // Function arguments are limited in number.
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
