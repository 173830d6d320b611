// What was sent, as long as it may have to be sent again. Plain data: it knows no sockets and no time.
//
// A log of frames in the order in which the caller made them: audio, and control messages in between. A cursor says
// what went out on the present connection. When that breaks, `rewind` puts the cursor back to where the server goes on,
// and the same frames go out again.

/**
 * What the client asks of such a log. Positions count the stream's audio from its start: samples per channel, or
 * milliseconds for a container, whose log (`WebmBacklog`) begins anew with a header of its own after each `rewind`.
 *
 * @typedef {object} FrameLog
 * @property {(frame: Uint8Array | string) => void} append  Add audio, whose bytes are the log's from now on and may be
 *   cut anywhere, or a control message (text). It never fails: what cannot be understood is passed on as it is.
 * @property {() => Uint8Array | string | undefined} nextFrame  The next frame to send, of 32 KiB at most; undefined
 *   where all are sent. It counts as sent. Sent audio is kept up to about the `maxBytes` of the constructor.
 * @property {(message: string) => void} settle  The first control message with this text is answered: never send it
 *   again.
 * @property {(position: number) => void} forget  No audio before this is needed any more. Messages in front of it have
 *   arrived, too; those at this very position may not have, and stay.
 * @property {(position: number) => number | undefined} rewind  Send again from here, or from the nearest place before
 *   it where one can begin, which is returned; undefined, and nothing is changed, where audio from here on is missing.
 *   Messages at the position itself are sent again as well.
 * @property {number} unsentBytes  Bytes of audio that wait to be sent.
 * @property {number} firstSample  Position of the oldest audio that `rewind` takes.
 * @property {number} nextSample  Position of what goes out next.
 * @property {number} endSample  Position where the audio appended so far ends; what has begun counts.
 */

/** @typedef {{ start: number, end: number, frame: Uint8Array | string }} Entry  `start`, `end`: bytes of audio */

/** The longest frame of audio, below any server's limit. */
export const FRAME_BYTES = 32 * 1024;

/**
 * A log of plain samples. `sampleBytes`: of one sample of all channels.
 * @implements {FrameLog}
 */
export class Backlog {
  #sampleBytes;
  #maxBytes;
  /** @type {Entry[]} */
  #sent = [];
  /** @type {Entry[]} */
  #unsent = [];
  #first = 0; // position in bytes of the oldest audio that is still here
  #cursor = 0; // of what goes out next
  #end = 0; // of what comes in next

  /** @param {number} sampleBytes @param {number} maxBytes */
  constructor(sampleBytes, maxBytes) {
    this.#sampleBytes = sampleBytes;
    this.#maxBytes = maxBytes;
  }

  get unsentBytes() {
    return this.#end - this.#cursor;
  }

  get firstSample() {
    return Math.ceil(this.#first / this.#sampleBytes);
  }

  get nextSample() {
    return Math.floor(this.#cursor / this.#sampleBytes);
  }

  get endSample() {
    return Math.ceil(this.#end / this.#sampleBytes);
  }

  /** @param {Uint8Array | string} frame */
  append(frame) {
    if (typeof frame === "string") {
      this.#unsent.push({ start: this.#end, end: this.#end, frame });
      return;
    }
    for (let at = 0; at < frame.length; at += FRAME_BYTES) {
      const piece = frame.length > FRAME_BYTES ? frame.slice(at, at + FRAME_BYTES) : frame;
      const start = this.#end;
      this.#end += piece.length;
      this.#unsent.push({ start, end: this.#end, frame: piece });
    }
  }

  nextFrame() {
    const entry = this.#unsent.shift();
    if (entry === undefined) return undefined;
    this.#sent.push(entry);
    this.#cursor = entry.end;
    while (this.#sent.length > 0 && this.#cursor - this.#first > this.#maxBytes) this.#dropFirst();
    return entry.frame;
  }

  /** @param {string} message */
  settle(message) {
    for (const entries of [this.#sent, this.#unsent]) {
      const index = entries.findIndex(({ frame }) => frame === message);
      if (index >= 0) {
        entries.splice(index, 1);
        return;
      }
    }
  }

  /** @param {number} sample */
  forget(sample) {
    const position = sample * this.#sampleBytes;
    while (this.#sent.length > 0 && this.#sent[0].end <= position && this.#sent[0].start < position) this.#dropFirst();
  }

  /** @param {number} sample */
  rewind(sample) {
    const position = sample * this.#sampleBytes;
    if (!(this.#first <= position && position <= this.#cursor)) return undefined;
    let index = this.#sent.length;
    while (index > 0 && this.#sent[index - 1].start >= position) index--;
    const again = this.#sent.splice(index);
    const last = this.#sent.at(-1);
    if (last !== undefined && last.end > position) {
      const { start, end, frame } = /** @type {Entry & { frame: Uint8Array }} */ (this.#sent.pop());
      this.#sent.push({ start, end: position, frame: frame.slice(0, position - start) });
      again.unshift({ start: position, end, frame: frame.slice(position - start) });
    }
    this.#unsent = again.concat(this.#unsent);
    this.#cursor = position;
    return sample;
  }

  #dropFirst() {
    this.#first = /** @type {Entry} */ (this.#sent.shift()).end;
  }
}
