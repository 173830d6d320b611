// Sound of the browser's audio graph as frames of int16, at the graph's own rate. It does not know whose sound it is.

import { CaptureError, throwIfCancelled } from "./capture-error.js";

// From wherever this module came: browsers load a worklet with CORS, so another origin that allows it will do (unlike
// for a `Worker`). A page with a Content-Security-Policy must name that origin in `script-src`.
const WORKLET = new URL("./capture-worklet.js", import.meta.url).href;

const RESUME_MS = 2000; // a context that may run does within a fraction of it
const REST_MS = 1000; // an audio thread that stands still never gives its rest

/** @param {number} ms @returns {Promise<void>} */
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @typedef {{ rms: number, peak: number }} Level both from 0 to 1 */

export class Capture {
  /** @type {AudioWorkletNode | undefined} */ #node;
  #channels;
  #onLevel;

  /** @param {AudioContext} context @param {number} channels @param {((level: Level) => void) | undefined} onLevel */
  constructor(context, channels, onLevel) {
    this.context = context;
    this.#channels = channels;
    this.#onLevel = onLevel;
  }

  /**
   * @param {{ channels?: number, onLevel?: (level: Level) => void, signal?: AbortSignal }} options
   * @returns {Promise<Capture>}
   */
  static async open({ channels = 1, onLevel, signal }) {
    if (typeof AudioWorkletNode === "undefined") {
      throw globalThis.isSecureContext
        ? new CaptureError("UNSUPPORTED", "This browser is too old to record (it lacks AudioWorklet). Update it.")
        : new CaptureError("INSECURE", "Browsers let only secure pages process sound. Open this page with https://.");
    }
    // Nothing is played, so fewer and larger blocks do as well, and wake the machine less often.
    const context = new AudioContext({ latencyHint: "playback" });
    try {
      await context.audioWorklet.addModule(WORKLET).catch((cause) => {
        throw new CaptureError("UNSUPPORTED", `${WORKLET} cannot be loaded. Reload the page.`, cause);
      });
      await Promise.race([context.resume(), wait(RESUME_MS)]);
      if (context.state !== "running") {
        throw new CaptureError(
          "PERMISSION_DENIED",
          "The browser lets no sound run before you have clicked in the page. Click, and start again.",
        );
      }
      throwIfCancelled(signal);
    } catch (error) {
      void context.close();
      throw error;
    }
    // A phone call, or a headset that goes away, suspends it; the sound after that is wanted.
    context.onstatechange = () => {
      if (context.state !== "closed" && context.state !== "running") context.resume().catch(() => {});
    };
    return new Capture(context, channels, onLevel);
  }

  /** The fields of the init message for these frames. */
  get format() {
    return { sample_rate: this.context.sampleRate, dtype: /** @type {const} */ ("int16"), channels: this.#channels };
  }

  /** @param {AudioNode} source @param {(pcm: ArrayBuffer) => void} onFrame @param {(error: Error) => void} onFailure */
  start(source, onFrame, onFailure) {
    const channels = this.#channels;
    // Without an output it is a sink, which runs although it leads to no loudspeaker.
    const node = new AudioWorkletNode(this.context, "stream-capture", {
      numberOfOutputs: 0,
      channelCount: channels,
      channelCountMode: "explicit",
      channelInterpretation: channels <= 2 ? "speakers" : "discrete",
    });
    node.port.onmessage = (/** @type {MessageEvent<import("./capture-worklet.js").Frame | null>} */ { data }) => {
      if (data === null) return;
      const { pcm, ...level } = data;
      onFrame(pcm);
      this.#onLevel?.(level);
    };
    node.onprocessorerror = () => onFailure(new CaptureError("UNSUPPORTED", "The browser's audio thread failed."));
    source.connect(node);
    this.#node = node;
  }

  /** When it resolves, `onFrame` has had all frames, the last one being as short as it is. */
  async stop() {
    const port = this.#node?.port;
    if (port) {
      const rest = new Promise((resolve) => {
        port.addEventListener("message", ({ data }) => data === null && resolve(data));
      });
      port.postMessage("stop");
      await Promise.race([rest, wait(REST_MS)]);
    }
    await this.context.close();
  }
}
