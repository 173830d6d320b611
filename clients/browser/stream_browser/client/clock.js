// Time and chance, as the browser has them.

/** @typedef {{ now: () => number, wait: (seconds: number) => Promise<void>, random: () => number }} Clock  In seconds;
 *   `random` is from 0 to 1. */

/**
 * A clock whose waits end early where the browser is online again, or with the signal.
 * @param {AbortSignal} signal
 * @returns {Clock}
 */
export function clockOf(signal) {
  return { now: () => performance.now() / 1000, wait, random: Math.random };

  /** @param {number} seconds @returns {Promise<void>} */
  function wait(seconds) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        globalThis.removeEventListener?.("online", done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, seconds * 1000);
      globalThis.addEventListener?.("online", done);
      signal.addEventListener("abort", done);
    });
  }
}
