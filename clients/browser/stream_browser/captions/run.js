/**
 * One run of captions, from Start to Stop: a source of audio joined to a client. It tells what happens by events, and
 * shows nothing.
 *
 * Events: `state` ("connecting", "open", "stopping", "ended"), `connection` (of the client), `message` (an event of
 * the protocol), `audio` (samples as they are captured), `gone` (the source has ended by itself), `failed` (the error).
 * After `ended` or `failed` nothing follows.
 */

import { StreamClient } from "../client/index.js";

/** @typedef {import("../client/live-source.js").Source} Source */

const GIVE_UP_SEC = 60;

/** The protocol's events that the page looks at. */
const EVENTS = /** @type {const} */ ([
  "speech_start", "partial", "speech_end", "final_segment", "speakers_revised", "warning",
]);

export class Run extends EventTarget {
  #options;
  #abort = new AbortController();
  /** @type {Source | null} */
  #source = null;
  /** @type {StreamClient | null} */
  #client = null;
  #isConnected = false;
  #isStopping = false;
  #isOver = false;

  /**
   * @param {object} options
   * @param {(signal: AbortSignal) => Promise<Source>} options.open the source
   * @param {string} options.url
   * @param {() => Promise<string>} options.token
   * @param {Record<string, unknown>} options.init further fields of the init message
   */
  constructor(options) {
    super();
    this.#options = options;
  }

  /** Begin; resolves when audio flows, or when it has failed. */
  async start() {
    try {
      this.#tell("state", "connecting");
      await this.#options.token(); // may ask for a key, which takes longer than a connection may
      if (this.#isStopping) return await this.#leave();
      const source = await this.#options.open(this.#abort.signal);
      this.#source = source;
      if (this.#isStopping) return await this.#leave();
      await this.#connect(source);
      if (this.#isStopping) return await this.#leave();
      source.tap = (pcm, sampleRate) => this.#tell("audio", { pcm, sampleRate });
      this.#tell("state", "open");
      source.start((audio) => this.#client?.send(audio));
      source.ended.then(() => this.#end(), (error) => this.#fail(error));
    } catch (error) {
      await this.#fail(error);
    }
  }

  /** The source has ended by itself. */
  #end() {
    if (!this.#isStopping) this.#tell("gone", null);
    return this.stop();
  }

  /** No more audio; resolves when everything that was heard is final. */
  async stop() {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#abort.abort();
    this.#tell("state", "stopping");
    if (!this.#isConnected) return this.#client?.close(); // then start() leaves
    try {
      await this.#source?.stop();
      await this.#client?.end();
      this.#finish("state", "ended");
    } catch (error) {
      await this.#fail(error);
    }
  }

  /** Leave at once; what is not final yet is lost. */
  close() {
    this.#isOver = this.#isStopping = true;
    this.#abort.abort();
    this.#client?.close();
    void this.#source?.stop().catch(() => {});
  }

  /** @param {Source} source */
  async #connect(source) {
    const { url, init } = this.#options;
    const prepared = [await this.#options.token()]; // somebody may have to type a key: no time limit runs yet
    const token = async () => prepared.pop() ?? this.#options.token();
    const client = new StreamClient(url, { token, ...source.format, ...init, reconnect: { giveUpSec: GIVE_UP_SEC } });
    this.#client = client;
    for (const name of EVENTS) client.addEventListener(name, ({ detail }) => this.#tell("message", detail));
    client.addEventListener("connection", ({ detail }) => this.#tell("connection", detail));
    client.addEventListener("error", ({ detail }) => void this.#fail(detail));
    await client.connect();
    this.#isConnected = true;
  }

  async #leave() {
    this.#client?.close();
    await this.#source?.stop();
    this.#finish("state", "ended");
  }

  /** @param {unknown} error */
  async #fail(error) {
    const isCancelled = /** @type {any} */ (error)?.code === "CANCELLED";
    if (isCancelled || (this.#isStopping && !this.#isConnected)) this.#finish("state", "ended");
    else this.#finish("failed", error);
    this.#client?.close();
    await this.#source?.stop().catch(() => {});
  }

  /** The last thing that is told. @param {string} name @param {unknown} detail */
  #finish(name, detail) {
    this.#tell(name, detail);
    this.#isOver = true;
  }

  /** @param {string} name @param {unknown} detail */
  #tell(name, detail) {
    if (!this.#isOver) this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
