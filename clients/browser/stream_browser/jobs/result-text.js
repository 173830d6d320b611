/**
 * The words of a result on the page: segments with times and speakers, the word that is heard, what a search has found.
 *
 * It knows neither the player nor the server: it is told the time, and dispatches `seek` (detail: milliseconds) when a
 * word or a time is clicked, `away` (detail: whether the reader has left the word that is heard).
 */

import { ResultSegment } from "./result-segment.js";
import { findAll } from "../shared/search.js";
import { WordIndex } from "./word-index.js";

/** Segments this close to the window get nodes for their words. */
const NEAR = "800px 0px";
/** Places that a search finds; more are not counted. */
const MOST_HITS = 5_000;
const SCROLL_KEYS = ["ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End"];

/** @typedef {import("./job-result.js").Segment} Segment */
/** @typedef {import("./result-segment.js").Hit} Hit */
/** @typedef {{ segment: number, word: number, start_ms: number, end_ms: number }} Place */

export class ResultText extends EventTarget {
  #list;
  /** @type {readonly Segment[]} */
  #segments = [];
  /** @type {ResultSegment[]} */
  #items = [];
  /** @type {Place[]} */
  #places = [];
  #index = new WordIndex([]);
  #now = -1;
  #isFollowing = true;
  /** @type {Hit[]} */
  #hits = [];
  /** @type {Map<number, Hit[]>} */
  #hitsOf = new Map();
  #chosen = -1;
  #near = new IntersectionObserver((entries) => this.#approach(entries), { rootMargin: NEAR });

  /** @param {HTMLElement} list */
  constructor(list) {
    super();
    this.#list = list;
    list.addEventListener("click", (event) => this.#click(event));
    const leave = () => this.#leave();
    addEventListener("wheel", leave, { passive: true });
    addEventListener("touchmove", leave, { passive: true });
    addEventListener("keydown", ({ key, target }) => {
      if (SCROLL_KEYS.includes(key) && !(target instanceof HTMLInputElement)) leave();
    });
    // Only the bar at the side belongs to the root itself.
    addEventListener("pointerdown", ({ target }) => {
      if (target === document.documentElement) leave();
    });
  }

  /** @param {readonly Segment[]} segments @param {readonly (import("../shared/speaker.js").Speaker | null)[]} speakers */
  show(segments, speakers) {
    this.#near.disconnect();
    this.#now = -1;
    this.#hits = [];
    this.#hitsOf = new Map();
    this.#chosen = -1;
    this.#isFollowing = true;
    this.#segments = segments;
    this.#places = placesOf(segments);
    this.#index = new WordIndex(this.#places);
    this.#items = segments.map((segment, place) => {
      const isNew = segment.speaker !== segments[place - 1]?.speaker;
      return new ResultSegment(segment, place, isNew ? speakers[place] : null);
    });
    this.#list.replaceChildren(...this.#items.map((item) => item.element));
    for (const item of this.#items) this.#near.observe(item.element);
  }

  /**
   * The audio is here: mark the word, and keep it in the window.
   * @param {number} ms
   * @param {boolean} isPlaying
   */
  hear(ms, isPlaying) {
    const now = this.#index.at(ms);
    if (now === this.#now) return;
    this.#unmark();
    this.#now = now;
    if (now < 0) return;
    const { segment, word } = this.#places[now];
    const item = this.#items[segment];
    item.approach();
    item.element.dataset.playing = "";
    if (word >= 0) item.nodeOf(word).dataset.now = "";
    if (isPlaying && this.#isFollowing) this.#reveal();
  }

  /** Follow what is heard again. */
  follow() {
    this.#isFollowing = true;
    this.#reveal();
    this.dispatchEvent(new CustomEvent("away", { detail: false }));
  }

  /** Where the segment before or after the one that is heard begins.
   * @param {number} ms
   * @param {1 | -1} step */
  neighbour(ms, step) {
    const starts = this.#segments.map((segment) => segment.start_ms);
    // Back means to the beginning of this one, unless that has only just been passed.
    return step > 0 ? starts.find((start) => start > ms) : (starts.findLast((start) => start < ms - 1_000) ?? 0);
  }

  /**
   * @param {string} query
   * @returns {number} how often it was found
   */
  search(query) {
    const before = this.#hitsOf;
    this.#hitsOf = new Map();
    this.#hits = [];
    for (const [segment, { text }] of this.#segments.entries()) {
      const hits = findAll(text, query).map(([start, end]) => ({ segment, start, end }));
      if (hits.length > 0) this.#hitsOf.set(segment, hits);
      this.#hits.push(...hits);
      if (this.#hits.length >= MOST_HITS) break;
    }
    this.#chosen = -1;
    for (const segment of new Set([...before.keys(), ...this.#hitsOf.keys()])) this.#mark(segment);
    return this.#hits.length;
  }

  /**
   * Look at the next place that was found, or the one before.
   * @param {1 | -1} step
   * @returns {number} its number, from 1; 0 where nothing was found
   */
  choose(step) {
    if (this.#hits.length === 0) return 0;
    const before = this.#hits[this.#chosen];
    const first = step > 0 ? 0 : this.#hits.length - 1;
    this.#chosen = before ? (this.#chosen + step + this.#hits.length) % this.#hits.length : first;
    const { segment } = this.#hits[this.#chosen];
    if (before) this.#mark(before.segment);
    this.#mark(segment);
    this.#items[segment].approach();
    this.#leave();
    this.#items[segment].element.scrollIntoView({ block: "center" });
    return this.#chosen + 1;
  }

  /** @param {number} segment */
  #mark(segment) {
    this.#items[segment].mark(this.#hitsOf.get(segment) ?? [], this.#hits[this.#chosen] ?? null);
    const place = this.#places[this.#now];
    if (place?.segment === segment && place.word >= 0) this.#items[segment].nodeOf(place.word).dataset.now = "";
  }

  #unmark() {
    const place = this.#places[this.#now];
    if (!place) return;
    const item = this.#items[place.segment];
    delete item.element.dataset.playing;
    delete item.nodeOf(place.word).dataset.now;
  }

  #reveal() {
    const place = this.#places[this.#now];
    if (!place) return;
    const node = this.#items[place.segment].nodeOf(place.word);
    const { top, bottom } = node.getBoundingClientRect();
    if (top < innerHeight * 0.15 || bottom > innerHeight * 0.75) {
      const isNear = top > -innerHeight && bottom < innerHeight * 2;
      const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches || !isNear;
      node.scrollIntoView({ block: "center", behavior: isCalm ? "auto" : "smooth" });
    }
  }

  #leave() {
    if (this.#isFollowing && this.#now >= 0) {
      this.#isFollowing = false;
      this.dispatchEvent(new CustomEvent("away", { detail: true }));
    }
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #approach(entries) {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      this.#near.unobserve(target);
      this.#items[Number(/** @type {HTMLElement} */ (target).dataset.place)]?.approach();
    }
  }

  /** @param {Event} event */
  #click({ target }) {
    if (!(target instanceof Element) || String(getSelection())) return; // words are selected to be copied
    const item = /** @type {HTMLElement | null} */ (target.closest(".segment"));
    const word = /** @type {HTMLElement | null} */ (target.closest(".word"));
    if (!item || !(word || target.closest(".time, .text"))) return;
    const segment = this.#segments[Number(item.dataset.place)];
    const ms = word ? segment.words[Number(word.dataset.word)].start_ms : segment.start_ms;
    this.#isFollowing = true;
    this.dispatchEvent(new CustomEvent("away", { detail: false }));
    this.dispatchEvent(new CustomEvent("seek", { detail: ms }));
  }
}

/**
 * Every word in order of time; segments without words count as one.
 * @param {readonly Segment[]} segments
 * @returns {Place[]}
 */
function placesOf(segments) {
  const places = segments.flatMap(({ words, start_ms, end_ms }, segment) =>
    words.length > 0
      ? words.map((word, place) => ({ segment, word: place, start_ms: word.start_ms, end_ms: word.end_ms }))
      : [{ segment, word: -1, start_ms, end_ms }],
  );
  return places.sort((one, other) => one.start_ms - other.start_ms);
}
