/**
 * When a job is asked about again: soon while it moves, later while nothing happens, much later while the
 * server is away.
 *
 * A function of what has been seen; it has no clock and asks nobody.
 */

const FIRST_MS = 500;
const GROWTH = 1.4;
const LONGEST_MS = 5_000;
const LONGEST_AWAY_MS = 30_000;
/** So many jobs are asked about at full speed; more share it. */
const AT_FULL_SPEED = 4;

/**
 * @typedef {object} Seen
 * @property {number} unchanged answers in a row that told nothing new
 * @property {number} failures questions in a row that had no answer
 * @property {number} retryAfterSec what the server has asked for; 0 for nothing
 * @property {number} jobs that are asked about, this one included
 */

/**
 * @param {Seen} seen
 * @returns {number} milliseconds
 */
export function nextPollMs({ unchanged, failures, retryAfterSec, jobs }) {
  if (failures > 0) {
    const away = Math.min(LONGEST_AWAY_MS, FIRST_MS * 2 ** Math.min(failures, 10));
    return Math.max(away, retryAfterSec * 1000);
  }
  const one = Math.min(LONGEST_MS, FIRST_MS * GROWTH ** Math.min(unchanged, 20));
  return Math.round(one * Math.max(1, jobs / AT_FULL_SPEED));
}
