/**
 * The list of finals: time, speaker, text. It adds and marks entries, and keeps the newest in sight while the reader is
 * at the end. It does not know audio or searching; entries that were dropped elsewhere it is told of.
 */

import { MAX_FINALS } from "./caption-state.js";
import { formatClock } from "../shared/transcript.js";

/** @typedef {import("./caption-state.js").Final} Final */
/** @typedef {{ item: HTMLLIElement, time: HTMLButtonElement, text: HTMLElement, final: Final }} Entry */

const NEAR_PX = 80; // so near the end counts as at the end

export class TimelineView {
  #list;
  #scroller;
  #latest;
  #onPlay;
  /** @type {Map<number, Entry>} */
  #entries = new Map();
  #isAtEnd = true;
  #playing = -1;

  /**
   * @param {object} parts
   * @param {HTMLElement} parts.list
   * @param {HTMLElement} parts.scroller
   * @param {HTMLButtonElement} parts.latest leads back to the end
   * @param {(id: number) => void} parts.onPlay
   */
  constructor({ list, scroller, latest, onPlay }) {
    this.#list = list;
    this.#scroller = scroller;
    this.#latest = latest;
    this.#onPlay = onPlay;
    scroller.addEventListener("scroll", () => this.#look(), { passive: true });
    latest.addEventListener("click", () => this.#follow());
    // What is out of sight has an estimated height, so the end moves once it is in sight.
    new ResizeObserver(() => this.#isAtEnd && this.#follow()).observe(list);
  }

  /** @returns {Iterable<Entry>} */
  get entries() {
    return this.#entries.values();
  }

  /**
   * @param {Final} final
   * @param {import("../shared/speaker.js").Speaker | null} speaker
   * @param {number} index where in the order of time
   * @param {boolean} hasAudio
   * @returns {Entry}
   */
  add(final, speaker, index, hasAudio) {
    const item = document.createElement("li");
    item.className = "segment";
    item.dataset.segmentId = String(final.id);
    item.dataset.offsetMs = String(final.start_ms);
    const time = document.createElement("button");
    time.type = "button";
    time.className = "time";
    time.textContent = formatClock(final.start_ms);
    time.addEventListener("click", () => this.#onPlay(final.id));
    item.append(time);
    if (speaker) item.append(this.#who(speaker, item));
    const text = document.createElement("span");
    text.className = "text";
    text.dir = "auto";
    text.textContent = final.text;
    if (final.language && final.language !== "auto") text.lang = final.language;
    if (final.isUnfinished) item.dataset.unfinished = "";
    item.append(text);
    const entry = { item, time, text, final };
    this.#entries.set(final.id, entry);
    this.setAudio(final.id, hasAudio);
    if (this.#list.children.length >= MAX_FINALS) this.#dropFirst(); // before: the index knows of it already
    this.#list.insertBefore(item, this.#list.children[index] ?? null);
    return entry;
  }

  /** Whether a final can be heard. @param {number} id @param {boolean} hasAudio */
  setAudio(id, hasAudio) {
    const time = this.#entries.get(id)?.time;
    if (!time) return;
    const words = hasAudio ? `Play from ${time.textContent}` : `${time.textContent}, its audio is not kept any more`;
    time.setAttribute("aria-label", words);
    time.title = words;
    time.setAttribute("aria-disabled", String(!hasAudio));
  }

  /** Which final is heard; -1 for none. @param {number} id */
  setPlaying(id) {
    const before = this.#entries.get(this.#playing)?.item;
    if (before) delete before.dataset.playing;
    this.#playing = id;
    const now = this.#entries.get(id)?.item;
    if (now) now.dataset.playing = "";
  }

  clear() {
    this.#entries.clear();
    this.#list.replaceChildren();
    this.#latest.hidden = true;
    this.#isAtEnd = true;
  }

  /** @param {import("../shared/speaker.js").Speaker} speaker @param {HTMLElement} item */
  #who({ name, color }, item) {
    const who = document.createElement("span");
    who.className = "who";
    who.textContent = name;
    item.dataset.speaker = String(color);
    return who;
  }

  #dropFirst() {
    const first = /** @type {HTMLElement} */ (this.#list.firstElementChild);
    this.#entries.delete(Number(first.dataset.segmentId));
    first.remove();
  }

  #look() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    this.#isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.#latest.hidden = this.#isAtEnd;
  }

  #follow() {
    this.#isAtEnd = true;
    this.#latest.hidden = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }
}
