// Runs in the browser's audio thread: sound in, frames of int16 and the level out. It does not know where they go.
//
// To the page: an ArrayBuffer (a frame, moved and not copied), a level, and null behind the last frame.
// From the page: any message means that it wants no more.

/**
 * @typedef {{ port: MessagePort }} Processor
 * @typedef {{ AudioWorkletProcessor: new () => Processor, sampleRate: number,
 *   registerProcessor: (name: string, type: new (options: AudioWorkletNodeOptions) => Processor) => void }} AudioThread
 */
const { AudioWorkletProcessor, registerProcessor, sampleRate } =
  /** @type {AudioThread} */ (/** @type {unknown} */ (globalThis));

const QUANTUM = 128; // what browsers render at a time
const FRAME = 20 * QUANTUM; // 53 ms at 48 kHz: few messages, little delay
const LEVEL = Math.ceil(sampleRate / 12 / QUANTUM) * QUANTUM; // a dozen levels a second look alive

class CaptureProcessor extends AudioWorkletProcessor {
  #channels;
  #frame;
  #filled = 0;
  #isOpen = true;
  #squares = 0;
  #peak = 0;
  #measured = 0;

  /** @param {AudioWorkletNodeOptions} options */
  constructor(options) {
    super();
    this.#channels = options.channelCount ?? 1;
    this.#frame = new Int16Array(FRAME * this.#channels);
    this.port.onmessage = () => {
      this.#isOpen = false;
      this.#give(this.#frame.slice(0, this.#filled));
      this.port.postMessage(null);
    };
  }

  /** @param {Float32Array[][]} inputs per channel; none at all while nothing plays, which counts as silence */
  process([input]) {
    if (!this.#isOpen) return false;
    const length = input[0]?.length ?? QUANTUM;
    for (let at = 0; at < length; at++) {
      for (let channel = 0; channel < this.#channels; channel++) {
        const sample = input[channel]?.[at] ?? 0;
        this.#squares += sample * sample;
        this.#peak = Math.max(this.#peak, Math.abs(sample));
        this.#frame[this.#filled++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      }
      if (this.#filled === this.#frame.length) {
        this.#give(this.#frame);
        this.#frame = new Int16Array(FRAME * this.#channels); // the old one is empty, it was moved
        this.#filled = 0;
      }
    }
    this.#measured += length;
    if (this.#measured >= LEVEL) {
      const rms = Math.sqrt(this.#squares / this.#measured / this.#channels);
      this.port.postMessage({ rms: Math.min(1, rms), peak: Math.min(1, this.#peak) });
      this.#squares = this.#peak = this.#measured = 0;
    }
    return true;
  }

  /** @param {Int16Array} samples */
  #give({ buffer, length }) {
    if (length) this.port.postMessage(buffer, [/** @type {ArrayBuffer} */ (buffer)]);
  }
}

registerProcessor("stream-capture", CaptureProcessor);
