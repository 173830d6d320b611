// One source of audio that runs by the clock: a capture, or a recorder beside it, and who hears of it. It does not know
// what is recorded.

/** @typedef {import("./capture.js").Capture} Capture @typedef {import("./recorder.js").Recorder} Recorder */
/** @typedef {(audio: ArrayBuffer) => void | Promise<void>} Sink such as `(audio) => client.send(audio)` */
/** @typedef {{ sample_rate: number, dtype: "int16", channels: number } | { dtype: "container" }} Format */

/**
 * What openMicrophone, openDisplay and openFile give.
 *
 * @typedef {object} Source
 * @property {Format} format init fields
 * @property {string} label for people
 * @property {(sink: Sink) => void} start once; audio goes to the sink until `stop`
 * @property {() => Promise<void>} stop resolves when the last audio has gone to the sink, and lets go of the device
 * @property {Promise<void>} ended resolves when the source ends by itself, and rejects when it fails or its sink does;
 *   `stop` is still to be called
 * @property {((pcm: Int16Array, sampleRate: number) => void) | undefined} tap gets the samples as well, also where the
 *   sink gets Opus. They share their memory with the sink's audio: read, and do not write
 */

/** @implements {Source} */
export class LiveSource {
  /** @type {Source["tap"]} */ tap;
  #capture;
  #parts;
  #isStarted = false;
  /** @type {Promise<void> | undefined} */ #stopping;
  /** It has ended by itself, or failed. @type {(error?: unknown) => void} */ end = () => {};

  /**
   * @param {string} label
   * @param {Capture} capture
   * @param {{ node: AudioNode, release: () => void, begin?: () => Promise<void>, recorder?: Recorder }} parts
   *   `begin` is called behind the start, `release` at the end
   */
  constructor(label, capture, parts) {
    this.label = label;
    this.#capture = capture;
    this.#parts = parts;
    this.format = parts.recorder ? parts.recorder.format : capture.format;
    /** @type {Promise<void>} */
    this.ended = new Promise((resolve, reject) => {
      this.end = (error) => (error === undefined ? resolve() : reject(error));
    });
    this.ended.catch(() => {}); // who does not ask need not know
  }

  /** @type {Source["start"]} */
  start(sink) {
    if (this.#isStarted) throw new Error("a source starts only once; open it anew");
    this.#isStarted = true;
    const { node, begin, recorder } = this.#parts;
    const rate = this.#capture.context.sampleRate;
    const put = async (/** @type {ArrayBuffer} */ audio) => {
      try {
        await sink(audio);
      } catch (error) {
        this.end(error);
      }
    };
    const heard = (/** @type {ArrayBuffer} */ pcm) => {
      this.tap?.(new Int16Array(pcm), rate);
      if (!recorder) void put(pcm);
    };
    this.#capture.start(node, heard, this.end);
    recorder?.start(put, this.end);
    begin?.().catch(this.end);
  }

  /** @type {Source["stop"]} */
  stop() {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop() {
    try {
      await Promise.all([this.#parts.recorder?.stop(), this.#capture.stop()]);
    } finally {
      this.#parts.release();
    }
  }
}
