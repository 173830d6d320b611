/**
 * How long after it was spoken a caption appears. Times of the clock come in as arguments, in milliseconds.
 *
 * Audio arrives in pieces, some of them late. A piece that ends at position p of the audio and arrives at time t was
 * spoken at t - p at the earliest moment of all pieces: the smallest difference of the last seconds is where position 0
 * lies on the clock. The clock of the sound card drifts against the computer's, so old differences are forgotten.
 */

const REMEMBERED = 200; // pieces
const CAPTIONS = 15; // that the median is taken of

export class SpokenClock {
  /** @type {number[]} a ring */
  #origins = [];
  #next = 0;

  /**
   * A piece of audio has arrived.
   *
   * @param {number} positionMs where it ends in the audio
   * @param {number} now
   */
  heard(positionMs, now) {
    this.#origins[this.#next] = now - positionMs;
    this.#next = (this.#next + 1) % REMEMBERED;
  }

  /**
   * How long ago the audio at this position was spoken.
   *
   * @param {number} positionMs
   * @param {number} now
   * @returns {number | null} null before any audio
   */
  since(positionMs, now) {
    if (!this.#origins.length) return null;
    return Math.max(0, now - Math.min(...this.#origins) - positionMs);
  }
}

/** The median of the last values. */
export class MovingMedian {
  /** @type {number[]} */
  #values = [];

  /** @param {number} value @returns {number} the median, this value included */
  add(value) {
    this.#values.push(value);
    if (this.#values.length > CAPTIONS) this.#values.shift();
    const sorted = [...this.#values].sort((one, other) => one - other);
    return sorted[Math.floor((sorted.length - 1) / 2)];
  }
}
