// Runs in the browser's audio thread: sound in, frames of int16 with their level out. It does not know where they go.
//
// To the page: a frame (its buffer is moved and not copied), and null behind the last one.
// From the page: any message means that it wants no more.

/**
 * @typedef {{ port: MessagePort }} Processor
 * @typedef {{ AudioWorkletProcessor: new () => Processor,
 *   registerProcessor: (name: string, type: new (options: AudioWorkletNodeOptions) => Processor) => void }} AudioThread
 */
const { AudioWorkletProcessor, registerProcessor } = /** @type {AudioThread} */ (/** @type {unknown} */ (globalThis));

const QUANTUM = 128; // what browsers render at a time
const FRAME = 32 * QUANTUM; // 85 ms at 48 kHz: few messages, little delay

/** @typedef {import("./capture.js").Level & { pcm: ArrayBuffer }} Frame  the level is that of the whole frame */

class CaptureProcessor extends AudioWorkletProcessor {
  #channels;
  #frame;
  #filled = 0;
  #squares = 0;
  #peak = 0;
  #isOpen = true;

  /** @param {AudioWorkletNodeOptions} options */
  constructor(options) {
    super();
    this.#channels = options.channelCount ?? 1;
    this.#frame = new Int16Array(FRAME * this.#channels);
    this.port.onmessage = () => {
      this.#isOpen = false;
      if (this.#filled) this.#give(this.#frame.slice(0, this.#filled));
      this.port.postMessage(null);
    };
  }

  /** @param {Float32Array[][]} inputs per channel; none at all while nothing plays, which counts as silence */
  process([input]) {
    if (!this.#isOpen) return false;
    const length = input[0]?.length ?? QUANTUM;
    for (let at = 0; at < length; at++) {
      for (let channel = 0; channel < this.#channels; channel++) this.#take(input[channel]?.[at] ?? 0);
      if (this.#filled === this.#frame.length) this.#give(this.#frame);
    }
    return true;
  }

  /** @param {number} sample from -1 to 1; NaN counts as 0 */
  #take(sample) {
    const value = Math.max(-32768, Math.min(32767, Math.round(sample * 32768))) || 0;
    this.#frame[this.#filled++] = value;
    this.#squares += value * value;
    this.#peak = Math.max(this.#peak, Math.abs(value));
  }

  /** @param {Int16Array<ArrayBuffer>} samples */
  #give({ buffer: pcm, length }) {
    const level = { rms: Math.sqrt(this.#squares / length) / 32768, peak: this.#peak / 32768 };
    this.port.postMessage(/** @type {Frame} */ ({ pcm, ...level }), [pcm]);
    this.#frame = new Int16Array(FRAME * this.#channels); // the old one is empty now
    this.#filled = this.#squares = this.#peak = 0;
  }
}

registerProcessor("stream-capture", CaptureProcessor);
