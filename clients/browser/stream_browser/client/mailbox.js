// Events between the connection and the caller who iterates. It does not know where they come from.

import { StreamError } from "./error.js";

/** @typedef {import("./timeline.js").SessionEvent} SessionEvent */

/**
 * A bounded queue that never makes its writer wait: a writer that waited would stop the audio, too.
 *
 * An iteration that lags by `limit` events loses the partials among them (finals say the same, later); one that lags by
 * that many others ends with an error, as does one that begins only then. Where nobody iterates, no more is kept.
 *
 * @implements {AsyncIterableIterator<SessionEvent>}
 */
export class Mailbox {
  #limit;
  /** @type {SessionEvent[]} */
  #events = [];
  /** @type {(() => void)[]} */
  #readers = [];
  #isClosed = false;
  /** @type {StreamError | undefined} */
  #error;

  /** @param {number} limit */
  constructor(limit) {
    this.#limit = limit;
  }

  /** @param {SessionEvent} event */
  put(event) {
    if (this.#isClosed) return;
    if (this.#events.length >= this.#limit) {
      this.#events = this.#events.filter(({ type }) => type !== "partial");
      if (this.#events.length >= this.#limit) {
        this.#events = [];
        this.close(new StreamError("EVENTS_NOT_READ", `${this.#limit} events waited to be read; iterate all the time`));
        return;
      }
    }
    this.#events.push(event);
    this.#wake();
  }

  /**
   * Nothing more comes. Readers get what is here, and then the error or the end.
   * @param {StreamError} [error]
   */
  close(error) {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#error = error;
    this.#wake();
  }

  /** @returns {Promise<IteratorResult<SessionEvent, undefined>>} */
  async next() {
    while (this.#events.length === 0) {
      if (this.#isClosed) {
        if (this.#error) throw this.#error;
        return { done: true, value: undefined };
      }
      await new Promise((resolve) => this.#readers.push(() => resolve(undefined)));
    }
    return { done: false, value: /** @type {SessionEvent} */ (this.#events.shift()) };
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  #wake() {
    for (const wake of this.#readers.splice(0)) wake();
  }
}
