// A media stream as WebM with Opus, for links that are too narrow for samples. It does not know who takes the bytes.

import { CaptureError } from "./capture-error.js";

const TYPES = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus"]; // Ogg: old Firefox; it cannot be restarted
const BITS_PER_SECOND = 32_000; // enough for speech; int16 at 48 kHz takes 24 times as much
const SLICE_MS = 250;

export class Recorder {
  format = /** @type {const} */ ({ dtype: "container" });
  #recorder;
  #stopped;
  /** @type {Promise<void>} */ #given = Promise.resolve();

  /** @param {MediaStream} stream */
  constructor(stream) {
    const mimeType = TYPES.find((type) => globalThis.MediaRecorder?.isTypeSupported(type));
    if (!mimeType) {
      const advice = 'Switch "Opus for narrow links" off, or use Chrome, Edge or Firefox.';
      throw new CaptureError("UNSUPPORTED", `This browser cannot record Opus. ${advice}`);
    }
    this.#recorder = new MediaRecorder(stream, { mimeType, audioBitsPerSecond: BITS_PER_SECOND });
    this.#stopped = new Promise((resolve) => this.#recorder.addEventListener("stop", resolve));
  }

  /** @param {(audio: ArrayBuffer) => Promise<void>} put @param {(error: Error) => void} onFailure */
  start(put, onFailure) {
    this.#recorder.ondataavailable = ({ data }) => {
      if (!data.size) return; // an empty frame would end the stream
      // One blob may be read faster than the one before it. And who takes them may be slow: that is not waited for.
      this.#given = this.#given.then(async () => void put(await data.arrayBuffer())).catch(onFailure);
    };
    this.#recorder.onerror = (event) => {
      const { error } = /** @type {Event & { error?: DOMException }} */ (event);
      onFailure(new CaptureError("UNSUPPORTED", `The browser stopped recording: ${error?.message}`, error));
    };
    this.#recorder.start(SLICE_MS);
  }

  /** When it resolves, `put` has had everything. */
  async stop() {
    if (!this.#recorder.ondataavailable) return;
    if (this.#recorder.state !== "inactive") this.#recorder.stop(); // it stops by itself with its device
    await this.#stopped;
    await this.#given;
  }
}
