/**
 * Which word is being said: the words of a transcript by their times, found by bisection.
 *
 * Pure; it does not know what is shown or played.
 */

/** A word stays the current one for this long after its end, unless the next begins. */
const LINGER_MS = 400;

/** @typedef {{ start_ms: number, end_ms: number }} Span */

export class WordIndex {
  /** @type {Float64Array} */
  #starts;
  /** @type {Float64Array} */
  #ends;

  /** @param {readonly Span[]} spans in order of their starts */
  constructor(spans) {
    this.#starts = Float64Array.from(spans, (span) => span.start_ms);
    this.#ends = Float64Array.from(spans, (span) => span.end_ms);
  }

  get length() {
    return this.#starts.length;
  }

  /**
   * The last span that has begun.
   * @param {number} ms
   * @returns {number} its place; -1 before the first
   */
  begun(ms) {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#starts[middle] <= ms) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /**
   * The span that is being said.
   * @param {number} ms
   * @returns {number} its place; -1 in a pause
   */
  at(ms) {
    const found = this.begun(ms);
    return found >= 0 && ms < this.#ends[found] + LINGER_MS ? found : -1;
  }

  /** @param {number} place */
  startMs(place) {
    return this.#starts[place];
  }
}
