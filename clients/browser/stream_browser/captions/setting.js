/**
 * What the visitor chose, remembered by the browser. Wrong or old values count as not chosen. It shows nothing.
 */

/** @typedef {import("./parameter.js").SourceKind} SourceKind */

/**
 * @typedef {object} Values
 * @property {SourceKind} source
 * @property {string} deviceId of the microphone; empty for the usual one
 * @property {string} language BCP 47, or "auto"
 * @property {string} model empty for the server's own
 * @property {boolean} opus
 * @property {boolean} stereo two channels, each with captions of its own
 * @property {boolean} diarize speakers are told apart
 * @property {boolean} keepAudio
 * @property {boolean} shortcuts single keys are used
 * @property {number} captionSize one of SIZES
 */

/** What is in force before anything is chosen. @type {Readonly<Values>} */
export const DEFAULTS = Object.freeze({
  source: "microphone",
  deviceId: "",
  language: "auto",
  model: "",
  opus: false,
  stereo: false,
  diarize: false,
  keepAudio: true,
  shortcuts: true,
  captionSize: 1,
});

const KEY = "stream-server.captions";

/** Of captions, as parts of the usual size. */
export const SIZES = Object.freeze([0.75, 0.875, 1, 1.25, 1.5, 1.875, 2.25]);

export class Settings {
  #storage;
  /** @type {Readonly<Values>} */
  #values;

  /** @param {Storage | null} storage */
  constructor(storage) {
    this.#storage = storage;
    this.#values = Object.freeze({ ...DEFAULTS, ...read(storage) });
  }

  get values() {
    return this.#values;
  }

  /** @param {Partial<Values>} changes */
  change(changes) {
    this.#values = Object.freeze({ ...this.#values, ...changes });
    try {
      this.#storage?.setItem(KEY, JSON.stringify(this.#values));
    } catch {
      // full or forbidden: remembered until the page is left
    }
  }
}

/** @param {Storage | null} storage @returns {Partial<Values>} only what has the type it should have */
function read(storage) {
  try {
    const saved = JSON.parse(storage?.getItem(KEY) ?? "{}");
    const known = Object.entries(DEFAULTS).filter(([name, usual]) => typeof saved[name] === typeof usual);
    const values = Object.fromEntries(known.map(([name]) => [name, saved[name]]));
    if (!["microphone", "display"].includes(values.source)) delete values.source; // a file is chosen anew each time
    if (!SIZES.includes(values.captionSize)) delete values.captionSize;
    return values;
  } catch {
    return {};
  }
}

/**
 * The next size of captions, larger or smaller; the same at the end of the scale.
 *
 * @param {number} size
 * @param {1 | -1} step
 */
export function nextSize(size, step) {
  return SIZES[Math.min(SIZES.length - 1, Math.max(0, SIZES.indexOf(size) + step))];
}
