/**
 * Keeps the screen on while captions run, where the browser lets it. It does not know why.
 */

/** @type {WakeLockSentinel | null} */
let lock = null;
let isWanted = false;

/** @param {boolean} isAwake */
export function keepAwake(isAwake) {
  isWanted = isAwake;
  void update();
}

/** A lock is lost whenever the page is out of sight. */
document.addEventListener("visibilitychange", () => void update());

/** One after the other: two requests at once would take two locks. */
const update = () => (working = working.then(follow));
let working = Promise.resolve();

async function follow() {
  if (isWanted && document.visibilityState === "visible" && (!lock || lock.released)) {
    lock = (await navigator.wakeLock?.request("screen").catch(() => null)) ?? null;
  }
  if (!isWanted && lock) {
    await lock.release();
    lock = null;
  }
}
