// A server of a few lines: every second of audio is one segment. It can break when told to.
//
// One byte of audio (ulaw) is one millisecond; the sample rate is not looked at.

import { socketClass } from "./memory-socket.js";

/** @typedef {Pick<import("./memory-socket.js").FarEnd, "receive" | "receiveMessage" | "say" | "close">} FarEnd */
/** @typedef {import("../../stream_browser/client/index.js").SessionEvent} SessionEvent */

export const RATE = 1000;
export const URL_OF_SERVER = "ws://memory/ws";
/** @type {{ dtype: "ulaw", sample_rate: number }} */
export const AUDIO = { dtype: "ulaw", sample_rate: RATE };

/** What survives a connection. Text of a segment: the sum of its bytes, so that lost audio shows. */
export class Session {
  /** @type {number[]} */
  audio = [];
  /** @type {any[]} */
  log = [];
  /** @type {string[]} */
  heard = []; // control messages, in order
  isEnded = false;

  /** @param {Uint8Array | string} frame @returns {any[]} */
  receive(frame) {
    const first = this.log.length;
    if (typeof frame === "string") this.#message(JSON.parse(frame));
    else for (const byte of frame) this.#byte(byte);
    return this.log.slice(first);
  }

  get finals() {
    return this.log.filter(({ type }) => type === "final_segment");
  }

  /** @param {any} message */
  #message(message) {
    this.heard.push(message.type);
    if (message.type === "flush") this.#add({ type: "flushed", id: message.id });
    if (message.type === "configure") this.#add({ type: "configured", config: message });
    if (message.type !== "end" || this.isEnded) return;
    this.isEnded = true;
    this.#add({ type: "end_of_transcript", text: this.finals.map(({ text }) => text).join(" ") });
    this.#add({
      type: "done",
      total_segments: this.finals.length,
      total_audio_duration_sec: this.audio.length / RATE,
      connection_duration_sec: 1,
    });
  }

  /** @param {number} byte */
  #byte(byte) {
    const offset = this.audio.length % RATE;
    const segment_id = (this.audio.length - offset) / RATE;
    const begin = segment_id * RATE;
    this.audio.push(byte);
    const about = { segment_id, offset_ms: begin, channel: 0 };
    if (offset === 0) this.#add({ type: "speech_start", ...about });
    if (offset === RATE / 2 - 1) {
      const said = { text: String(byte), stable_chars: 0, language: "en", latency_ms: 1, is_final: false };
      this.#add({ type: "partial", ...about, ...said, duration_ms: RATE / 2, audio_duration_sec: 0.5 });
    }
    if (offset === RATE - 1) {
      const text = `s${this.audio.slice(begin).reduce((sum, value) => sum + value, 0)}`;
      const words = [{ word: text, start_ms: begin, end_ms: begin + RATE, confidence: 0.9 }];
      const said = { text, words, language: "en", confidence: 0.9, silence_duration_ms: 0, is_final: true };
      this.#add({ type: "speech_end", ...about, offset_ms: begin + RATE });
      this.#add({ type: "final_segment", ...about, ...said, duration_ms: RATE, audio_duration_sec: 1 });
    }
  }

  /** @param {object} event */
  #add(event) {
    this.log.push({ ...event, seq: this.log.length + 1 });
  }
}

export class ScriptedServer {
  /** @type {Map<string, Session>} */
  sessions = new Map();
  /** @type {any[]} */
  inits = [];
  /** @type {URL[]} */
  urls = [];
  #breaks;
  #loses;
  #acks;

  /**
   * @param {object} [options]
   * @param {(number | null)[]} [options.breaks]  for each connection in turn, after how many frames it breaks (null:
   *   never; 0: refused)
   * @param {number} [options.loses]  how many of the last samples of a broken connection did not arrive
   * @param {boolean} [options.acks]  whether to acknowledge audio
   */
  constructor({ breaks = [], loses = 0, acks = true } = {}) {
    this.#breaks = [...breaks];
    this.#loses = loses;
    this.#acks = acks;
  }

  /** The class to pass to the client. */
  WebSocket = socketClass((url) => {
    this.urls.push(url);
    const limit = this.#breaks.shift() ?? Infinity;
    return limit === 0 ? "refused" : (far) => this.serve(far, limit);
  });

  /** The only session. */
  get session() {
    if (this.sessions.size !== 1) throw new Error(`${this.sessions.size} sessions`);
    return [...this.sessions.values()][0];
  }

  /** One connection. @param {FarEnd} far */
  async serve(far, limit = Infinity) {
    const init = await far.receiveMessage();
    this.inits.push(init);
    const name = init.session_id ?? `session-${this.sessions.size + 1}`;
    const session = this.sessions.get(name) ?? new Session();
    const resumed = this.sessions.has(name);
    this.sessions.set(name, session);
    // As if the network had swallowed the end: audio that no event speaks of yet.
    if (resumed) session.audio.length -= Math.min(this.#loses, session.audio.length % (RATE / 2));
    far.say(ready({ session_id: name, resumed, received_samples: session.audio.length }));
    far.say(...session.log.slice(init.last_seq ?? 0));
    for (let frames = 1; !session.isEnded; frames++) {
      const events = session.receive(await far.receive());
      if (frames === limit) return; // with events that never went out
      far.say(...events);
      if (this.#acks) far.say({ type: "ack", received_samples: session.audio.length });
    }
    far.close(1000);
  }
}

/** @param {object} [fields] */
export function ready(fields) {
  const named = { session_id: "s", resume_token: "token", protocol: 1, model: "fake", language: "en" };
  return { type: "ready", ...named, config: {}, ignored: [], resumed: false, received_samples: 0, ...fields };
}

/** @param {number} seconds */
export function pcm(seconds) {
  return Uint8Array.from({ length: Math.round(seconds * RATE) }, (_, index) => (index * 7) % 251);
}
