// What was recorded as WebM with Opus, as long as it may have to be sent again. It knows no sockets and no recorder.
//
// A server cannot take up a container in its middle. So a recording is taken apart into its packets, and what is sent
// is a recording made of them: for each session a header, then clusters whose times begin at 0, as a server counts what
// it decodes and asks for no times. A position is exact to the sample: a session begins with packets from a little
// before it, for the decoder to settle, and its header says how much of their sound is thrown away (`pre-skip`, RFC
// 7845 section 4.2). What is not such a recording is passed on as it is, and cannot be sent again.

import { Backlog, FRAME_BYTES } from "./backlog.js";
import { join, opusSamples, webmCluster, WebmReader } from "./webm-format.js";

/** @typedef {import("./backlog.js").FrameLog} FrameLog */
/** @typedef {{ start: number, end: number, frame: Uint8Array | string }} Entry start, end: samples, skipped too */

const PER_MS = 48; // samples, as Opus counts them
const SETTLE = 640 * PER_MS; // after it not one sample differs; RFC 7845 section 4.6 asks for 80 ms at least
const LONGEST_CLUSTER = 30_000 * PER_MS;
const OVERHEAD = 1024; // bytes of a header and a cluster around the packets; each packet has 9 more

/**
 * Positions are milliseconds.
 * @implements {FrameLog}
 */
export class WebmBacklog {
  #maxBytes;
  #reader = new WebmReader();
  /** @type {Entry[]} */ #log = [];
  #next = 0; // index in the log
  #end = 0; // samples
  #sentBytes = 0;
  #unsentBytes = 0;
  #begin = 0; // position where the present session begins
  /** @type {number | undefined} sample where its first packet begins, once it was sent */ #origin;
  /** @type {Backlog | undefined} what is not understood */ #rest;

  /** @param {number} maxBytes */
  constructor(maxBytes) {
    this.#maxBytes = maxBytes;
  }

  /** False where the recording is not understood: `rewind` gives undefined. */
  get isRestartable() {
    return this.#rest === undefined;
  }

  get unsentBytes() {
    return this.#unsentBytes + (this.#rest?.unsentBytes ?? 0);
  }

  get firstSample() {
    return Math.ceil(this.#position(this.#log[0]?.start ?? this.#end));
  }

  get nextSample() {
    return Math.max(this.#begin, Math.floor(this.#position(this.#cursor)));
  }

  get endSample() {
    return Math.ceil(this.#position(this.#end));
  }

  /** @param {Uint8Array | string} frame */
  append(frame) {
    if (this.#rest) {
      this.#rest.append(frame);
    } else if (typeof frame === "string") {
      this.#log.push({ start: this.#end, end: this.#end, frame });
    } else {
      for (const packet of this.#reader.read(frame)) {
        const start = this.#end;
        this.#end += opusSamples(packet);
        this.#unsentBytes += packet.length;
        this.#log.push({ start, end: this.#end, frame: packet });
      }
      if (!this.#reader.isUnderstood) {
        this.#rest = new Backlog(1, 0);
        this.#rest.append(this.#reader.rest);
      }
    }
  }

  nextFrame() {
    /** @type {Uint8Array[]} */ const packets = [];
    let start = 0;
    let size = OVERHEAD;
    for (let entry = this.#log[this.#next]; entry; entry = this.#log[this.#next]) {
      if (typeof entry.frame === "string") {
        if (packets.length) break;
        this.#next++;
        if (this.#position(entry.start) >= this.#begin) return entry.frame;
      } else {
        if (!packets.length) start = entry.start;
        size += entry.frame.length + 9;
        if (packets.length && (size > FRAME_BYTES || entry.end - start > LONGEST_CLUSTER)) break;
        packets.push(entry.frame);
        this.#move(entry.frame.length);
        this.#next++;
      }
    }
    if (!packets.length) return this.#rest?.nextFrame();
    while (this.#sentBytes > this.#maxBytes) this.#dropFirst();
    if (this.#origin !== undefined) return webmCluster(packets, start - this.#origin);
    this.#origin = start;
    return join([this.#reader.header(this.#sample(this.#begin) - start), webmCluster(packets, 0)]);
  }

  /** @param {string} message */
  settle(message) {
    const index = this.#log.findIndex(({ frame }) => frame === message);
    if (index < 0) return this.#rest?.settle(message);
    this.#log.splice(index, 1);
    if (index < this.#next) this.#next--;
  }

  /** @param {number} position */
  forget(position) {
    while (this.#next > 0 && this.#log[0].end <= this.#sample(position) - SETTLE) this.#dropFirst();
  }

  /** @param {number} position */
  rewind(position) {
    const last = Math.ceil(this.#position(this.#cursor));
    if (this.#rest || position < this.firstSample || position > last) return undefined;
    const from = this.#sample(position) - SETTLE;
    for (; this.#next > 0 && this.#log[this.#next - 1].end > from; this.#next--) {
      this.#move(-lengthOf(this.#log[this.#next - 1]));
    }
    this.#begin = position;
    this.#origin = undefined;
    return position;
  }

  /** Where the next entry begins. */
  get #cursor() {
    return this.#log[this.#next]?.start ?? this.#end;
  }

  /** @param {number} sample */
  #position(sample) {
    return Math.max(0, sample - this.#reader.preSkip) / PER_MS;
  }

  /** @param {number} position */
  #sample(position) {
    return position * PER_MS + this.#reader.preSkip;
  }

  /** From the unsent to the sent. @param {number} bytes */
  #move(bytes) {
    this.#sentBytes += bytes;
    this.#unsentBytes -= bytes;
  }

  #dropFirst() {
    this.#sentBytes -= lengthOf(/** @type {Entry} */ (this.#log.shift()));
    this.#next--;
  }
}

/** @param {Entry} entry */
const lengthOf = ({ frame }) => (typeof frame === "string" ? 0 : frame.length);
