// A file of the user as a source: played at real speed, or sent as it is. It does not know where the audio goes.
//
// The browser plays: it decodes piece by piece, whatever it can play, and keeps time in a tab that is not looked at. To
// decode a file at once (`decodeAudioData`) would take 0.7 GB for an hour. Sent as it is, the server decodes it.

import { Capture } from "./capture.js";
import { CaptureError, throwIfCancelled } from "./capture-error.js";
import { LiveSource } from "./live-source.js";

/** @typedef {import("./live-source.js").Source} Source */

const PIECE_BYTES = 64 * 1024;

/**
 * @typedef {object} FileOptions
 * @property {boolean} [realTime] false: as fast as the server takes it; for formats that the server can decode from
 *   their beginning, WAV, MP3, FLAC, Ogg, WebM
 * @property {boolean} [audible] whether what is played at real speed is also heard
 * @property {(level: import("./capture.js").Level) => void} [onLevel] of what is played, about 12 times a second
 * @property {AbortSignal} [signal] gives up the opening
 */

/**
 * @param {File | Blob} file
 * @param {FileOptions} [options]
 * @returns {Promise<Source>}
 * @throws {CaptureError}
 */
export async function openFile(file, options = {}) {
  const label = file instanceof File ? file.name : "File";
  throwIfCancelled(options.signal);
  if (!file.size) throw new CaptureError("BAD_FILE", `${label} is empty. Choose another file.`);
  return options.realTime === false ? new RawSource(label, file) : openPlayed(label, file, options);
}

/** @param {string} label @param {Blob} file @param {FileOptions} options */
async function openPlayed(label, file, { audible = true, onLevel, signal }) {
  const url = URL.createObjectURL(file);
  const element = new Audio();
  const advice = `The browser cannot play ${label}. Try MP3, WAV, FLAC or Ogg.`;
  const bad = () => new CaptureError("BAD_FILE", advice, element.error);
  const release = () => {
    element.pause();
    element.removeAttribute("src");
    URL.revokeObjectURL(url);
  };
  /** @type {Capture | undefined} */ let capture;
  try {
    await new Promise((resolve, reject) => {
      element.oncanplay = resolve;
      signal?.addEventListener("abort", () => reject(new CaptureError("CANCELLED", "The opening was given up.")));
      element.onerror = () => reject(bad());
      element.preload = "auto";
      element.src = url;
    });
    capture = await Capture.open({ onLevel, signal });
    const { context } = capture;
    const node = context.createMediaElementSource(element);
    if (audible) node.connect(context.destination);
    const begin = async () => {
      try {
        await element.play();
      } catch (error) {
        const click = "The browser plays nothing before you have clicked in the page. Click, and start again.";
        throw element.error ? bad() : new CaptureError("PERMISSION_DENIED", click, error);
      }
    };
    const source = new LiveSource(label, capture, { node, begin, release });
    element.onended = () => source.end();
    element.onerror = () => source.end(bad());
    return source;
  } catch (error) {
    release();
    await capture?.stop();
    throw error;
  }
}

/**
 * The bytes of a file, one piece behind the other.
 * @implements {Source}
 */
class RawSource {
  /** @type {Source["tap"]} never called: there are no samples here */ tap;
  format = /** @type {const} */ ({ dtype: "container" });
  #file;
  #isStopped = false;
  /** @type {(reason?: Promise<void>) => void} */ #end = () => {};

  /** @param {string} label @param {Blob} file */
  constructor(label, file) {
    this.label = label;
    this.#file = file;
    /** @type {Promise<void>} */
    this.ended = new Promise((resolve) => (this.#end = resolve));
    this.ended.catch(() => {});
  }

  /** @type {Source["start"]} */
  start(sink) {
    this.#end(this.#give(sink));
  }

  async stop() {
    this.#isStopped = true;
  }

  /** @param {import("./live-source.js").Sink} sink */
  async #give(sink) {
    for (let at = 0; at < this.#file.size; at += PIECE_BYTES) {
      const piece = await this.#file.slice(at, at + PIECE_BYTES).arrayBuffer().catch((cause) => {
        throw new CaptureError("BAD_FILE", `${this.label} can no longer be read. Choose it again.`, cause);
      });
      if (this.#isStopped) return;
      await sink(piece);
    }
  }
}
