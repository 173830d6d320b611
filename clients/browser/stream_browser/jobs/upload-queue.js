/**
 * Turns: so many tasks at once, the rest waits in the order in which it came. It does not know what the tasks do.
 */

export class UploadQueue {
  #most;
  #running = 0;
  /** @type {Map<string, () => Promise<void>>} */
  #waiting = new Map();

  /** @param {number} most tasks at once */
  constructor(most) {
    this.#most = most;
  }

  /**
   * @param {string} key by which the task can be taken out again
   * @param {() => Promise<void>} task begins when it has its turn; it sees to its own failures
   */
  add(key, task) {
    this.#waiting.set(key, task);
    this.#begin();
  }

  /**
   * Take a task out before its turn.
   * @param {string} key
   * @returns {boolean} whether it was still waiting
   */
  remove(key) {
    return this.#waiting.delete(key);
  }

  #begin() {
    for (const [key, task] of this.#waiting) {
      if (this.#running >= this.#most) return;
      this.#waiting.delete(key);
      this.#running += 1;
      task().finally(() => {
        this.#running -= 1;
        this.#begin();
      });
    }
  }
}
