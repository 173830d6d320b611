/**
 * Captions as a page needs them: runs one after the other, the transcript they make, the audio of its finals, and how
 * late captions come. It shows nothing, and knows no elements.
 *
 * Events (detail): `phase` ("idle", "connecting", "open", "stopping"), `connection` (a ConnectionState), `change` (a
 * Change of the transcript), `speech` (whether somebody speaks), `latency` ({ lateMs, serverMs }), `warning` (words,
 * or ""), `failed` (an error). Sound levels go to `onLevel`, because they are many.
 */

import { openDisplay, openFile, openMicrophone } from "../client/index.js";
import { AudioRing } from "./audio-ring.js";
import { CaptionState } from "./caption-state.js";
import { ClipStore } from "./clip-store.js";
import { ConnectionState } from "./connection-state.js";
import { MovingMedian, SpokenClock } from "./latency.js";
import { warningOf } from "./problem.js";
import { Run } from "./run.js";

/** @typedef {import("./caption-state.js").Final} Final */
/** @typedef {import("./caption-state.js").Change} Change */
/** @typedef {"idle" | "connecting" | "open" | "stopping"} Phase */

/**
 * @typedef {object} Choice What is to be captioned.
 * @property {import("./parameter.js").SourceKind} source
 * @property {File | null} file
 * @property {string} deviceId empty for the usual one
 * @property {1 | 2} channels
 * @property {boolean} opus
 * @property {string} language
 * @property {string} model empty for the server's own
 * @property {boolean} diarize speakers are told apart
 * @property {boolean} keepAudio
 */

const LONGEST_SEC = 86_400; // a day, the most that a server allows
const MARGIN_MS = 200; // of audio around a final, so that no sound is cut off

export class Captioning extends EventTarget {
  state = new CaptionState();
  clips;
  #api;
  #onLevel;
  #connection = new ConnectionState();
  /** @type {Phase} */
  #phase = "idle";
  /** @type {Run | null} */
  #run = null;
  /** @type {AudioRing | null} */
  #ring = null;
  #keepAudio = true;
  #channels = 1;
  #clock = new SpokenClock();
  #lateMs = new MovingMedian();
  #serverMs = new MovingMedian();
  #isSpeech = false;

  /**
   * @param {import("./live-api.js").LiveApi} api
   * @param {object} options
   * @param {(level: { rms: number, peak: number }) => void} options.onLevel
   * @param {(id: number) => void} [options.onClipGone] the audio of a final was dropped
   */
  constructor(api, { onLevel, onClipGone }) {
    super();
    this.#api = api;
    this.#onLevel = onLevel;
    this.clips = new ClipStore({ onDrop: onClipGone });
  }

  get phase() {
    return this.#phase;
  }

  /** Whether the connection is lost, and sought again. */
  get isAway() {
    return this.#connection.name === "reconnecting";
  }

  /** How long the present run has heard, in milliseconds. */
  get heardMs() {
    return this.#ring?.positionMs ?? 0;
  }

  /** @param {Choice} choice */
  start(choice) {
    if (this.#phase !== "idle") return;
    const { language, model, diarize } = choice;
    const run = new Run({
      open: (signal) => this.#open(choice, signal),
      url: this.#api.socketUrl,
      token: () => this.#api.token(),
      init: { language, ...(model && { model }), ...(diarize && { diarize }), max_connection_duration: LONGEST_SEC },
    });
    this.#run = run;
    this.#ring = null;
    this.#clock = new SpokenClock();
    this.#lateMs = new MovingMedian();
    this.#serverMs = new MovingMedian();
    this.#keepAudio = choice.keepAudio;
    this.#channels = choice.channels;
    this.state.begin(choice.channels);
    run.addEventListener("state", (event) => this.#enter(/** @type {CustomEvent} */ (event).detail));
    run.addEventListener("connection", (event) => this.#reconnect(/** @type {CustomEvent} */ (event).detail));
    run.addEventListener("audio", (event) => this.#hear(/** @type {CustomEvent} */ (event).detail));
    run.addEventListener("message", (event) => this.#receive(/** @type {CustomEvent} */ (event).detail));
    run.addEventListener("gone", () => this.#tell("gone", choice.source));
    run.addEventListener("failed", (event) => this.#fail(/** @type {CustomEvent} */ (event).detail));
    void run.start();
  }

  stop() {
    void this.#run?.stop();
  }

  /** Leave at once, because the page goes: what is open is kept as it stands. */
  close() {
    if (this.#phase === "idle") return;
    this.#run?.close();
    this.#enter("ended");
  }

  /** What is told of the connection has been read. */
  forgetConnection() {
    this.#connection.forget();
    this.#tell("connection", this.#connection);
  }

  /** @param {Choice} choice @param {AbortSignal} signal */
  #open({ source, file, deviceId, channels, opus }, signal) {
    const codec = opus ? /** @type {const} */ ("opus") : /** @type {const} */ ("pcm");
    const options = { channels, codec, signal, onLevel: this.#onLevel };
    if (source === "display") return openDisplay(options);
    if (source === "file" && file) return openFile(file, { signal, onLevel: this.#onLevel });
    return openMicrophone({ ...options, ...(deviceId && { deviceId }) });
  }

  /** @param {"connecting" | "open" | "stopping" | "ended"} state */
  #enter(state) {
    if (state === "connecting" || state === "open" || state === "ended") this.#connection.enter(state);
    this.#phase = state === "ended" ? "idle" : state;
    if (state === "ended") this.#end();
    this.#tell("connection", this.#connection);
    this.#tell("phase", this.#phase);
  }

  /** @param {unknown} error */
  #fail(error) {
    if (/** @type {any} */ (error)?.code === "AUTH_FAILED") this.#api.forgetOpen();
    this.#connection.enter("failed");
    this.#phase = "idle";
    this.#end();
    this.#tell("connection", this.#connection);
    this.#tell("phase", this.#phase);
    this.#tell("failed", error);
  }

  /** Whatever is still open has no final any more. */
  #end() {
    for (const change of this.state.abandon()) this.#change(change);
    this.#listen();
    this.#tell("warning", "");
  }

  /** @param {{ state: string, attempt?: number, bufferedSec?: number }} change */
  #reconnect(change) {
    this.#connection.receive(change, performance.now());
    if (change.state === "restarted") this.state.restart().forEach((gone) => this.#change(gone));
    if (change.state === "resumed" || change.state === "restarted") this.#tell("warning", "");
    this.#listen();
    this.#tell("connection", this.#connection);
  }

  /** @param {{ pcm: Int16Array, sampleRate: number }} audio */
  #hear({ pcm, sampleRate }) {
    this.#ring ??= new AudioRing(sampleRate, this.#channels);
    this.#ring.write(pcm);
    this.#clock.heard(this.#ring.positionMs, performance.now());
  }

  /** @param {any} message */
  #receive(message) {
    if (message.type === "warning") return this.#tell("warning", warningOf(message));
    const change = this.state.receive(message);
    if (change) {
      if (change.kind === "final") this.#keep(change.final);
      this.#change(change);
      if ("hasNewText" in change && change.hasNewText) this.#measure(message);
    }
    this.#listen();
  }

  /** The audio of a final is kept, as long as it is still there. @param {Final} final */
  #keep({ id, start_ms, end_ms, channel }) {
    if (!this.#ring || !this.#keepAudio) return;
    const start = Math.max(0, start_ms - this.state.startMs - MARGIN_MS);
    const channelHeard = Math.min(channel, this.#ring.channels - 1);
    const pcm = this.#ring.cut(start, end_ms - this.state.startMs + MARGIN_MS, channelHeard);
    if (pcm) this.clips.add(id, pcm, this.#ring.sampleRate);
  }

  /** @param {{ offset_ms: number, duration_ms: number, latency_ms: number }} message whose text is new */
  #measure({ offset_ms, duration_ms, latency_ms }) {
    const lateMs = this.#clock.since(offset_ms + duration_ms, performance.now());
    if (lateMs === null) return;
    this.#tell("latency", { lateMs: this.#lateMs.add(lateMs), serverMs: this.#serverMs.add(latency_ms) });
  }

  #listen() {
    if (this.#isSpeech === this.state.isSpeech) return;
    this.#isSpeech = this.state.isSpeech;
    this.#tell("speech", this.#isSpeech);
  }

  /** @param {Change} change */
  #change(change) {
    this.#tell("change", change);
  }

  /** @param {string} name @param {unknown} detail */
  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
