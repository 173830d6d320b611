/**
 * The level meter: how loud it is, in decibels, moved by a transform alone. It does not know where levels come from.
 */

const FLOOR_DB = -60;
const TOLD_MS = 1000; // how often a screen reader may find another value
const STEP = 0.02; // smaller changes cannot be seen
const SHOWN_MS = 240; // between two changes: each is a frame to draw, and they are what a page of captions costs most

export class LevelView {
  #root;
  #bar;
  #shown = 0;
  #shownAt = 0;
  #toldAt = 0;

  /** @param {HTMLElement} root a meter, with a bar in it */
  constructor(root) {
    this.#root = root;
    this.#bar = /** @type {HTMLElement} */ (root.firstElementChild);
  }

  /** @param {number} rms from 0 to 1 @param {number} now in milliseconds */
  show(rms, now) {
    const db = rms > 0 ? 20 * Math.log10(rms) : FLOOR_DB;
    const level = Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
    if (level !== 0 && (now - this.#shownAt < SHOWN_MS || Math.abs(level - this.#shown) < STEP)) return;
    this.#shown = level;
    this.#shownAt = now;
    this.#bar.style.transform = `scaleX(${level.toFixed(3)})`;
    if (now - this.#toldAt < TOLD_MS) return;
    this.#toldAt = now;
    this.#root.setAttribute("aria-valuenow", String(Math.round(level * 100)));
  }

  rest() {
    this.#toldAt = 0;
    this.show(0, TOLD_MS);
  }
}
