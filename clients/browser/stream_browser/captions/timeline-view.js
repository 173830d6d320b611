/**
 * The list of finals: time, speakers, text. It adds, changes and marks entries, and keeps the newest in sight while the
 * reader is at the end. It does not know audio or searching; entries that were dropped elsewhere it is told of.
 */

import { MAX_FINALS } from "./caption-state.js";
import { editName } from "../shared/name-edit.js";
import { formatClock } from "../shared/transcript.js";

/** @typedef {import("./caption-state.js").Final} Final */
/** @typedef {import("./cast.js").SpokenPart} SpokenPart */
/** @typedef {{ part: SpokenPart, who: HTMLButtonElement | null, text: HTMLElement }} Line what one speaker says */
/** @typedef {{ item: HTMLLIElement, time: HTMLButtonElement, lines: Line[], final: Final }} Entry */

const NEAR_PX = 80; // so near the end counts as at the end

export class TimelineView {
  #list;
  #scroller;
  #latest;
  #onPlay;
  #onRename;
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
   * @param {(key: string, name: string) => void} parts.onRename a speaker was given another name
   */
  constructor({ list, scroller, latest, onPlay, onRename }) {
    this.#list = list;
    this.#scroller = scroller;
    this.#latest = latest;
    this.#onPlay = onPlay;
    this.#onRename = onRename;
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
   * @param {SpokenPart[]} parts of its text
   * @param {number} index where in the order of time
   * @param {boolean} hasAudio
   * @returns {Entry}
   */
  add(final, parts, index, hasAudio) {
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
    if (final.isUnfinished) item.dataset.unfinished = "";
    /** @type {Entry} */
    const entry = { item, time, lines: [], final };
    this.#fill(entry, parts);
    this.#entries.set(final.id, entry);
    this.setAudio(final.id, hasAudio);
    if (this.#list.children.length >= MAX_FINALS) this.#dropFirst(); // before: the index knows of it already
    this.#list.insertBefore(item, this.#list.children[index] ?? null);
    this.#nameOnce(item);
    return entry;
  }

  /**
   * Others have said it, or they are called otherwise. It has been read out already, and what is looked at stays where it
   * is.
   *
   * @param {{ final: Final, parts: SpokenPart[] }[]} revised
   * @returns {Entry[]} those that are there
   */
  revise(revised) {
    const { top } = this.#scroller.getBoundingClientRect();
    const isBelow = (/** @type {Entry} */ { item }) => item.getBoundingClientRect().top >= top;
    const looked = this.#isAtEnd ? undefined : [...this.entries].find(isBelow)?.item;
    const before = looked?.getBoundingClientRect().top ?? 0;
    const entries = revised.flatMap(({ final, parts }) => {
      const entry = this.#entries.get(final.id);
      if (!entry) return [];
      entry.final = final;
      entry.item.ariaLive = "off";
      this.#fill(entry, parts);
      return [entry];
    });
    for (const { item } of entries) this.#nameOnce(item);
    if (looked) this.#scroller.scrollTop += looked.getBoundingClientRect().top - before;
    return entries;
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

  /**
   * Lines that say the same stay, whoever says it: somebody may be at them.
   *
   * @param {Entry} entry
   * @param {SpokenPart[]} parts
   */
  #fill(entry, parts) {
    const isSame = parts.length === entry.lines.length && parts.every(({ text, who }, at) => (
      text === entry.lines[at].part.text && !who === !entry.lines[at].who
    ));
    if (!isSame) {
      entry.lines = parts.map((part) => this.#line(part, entry.final));
      entry.item.replaceChildren(entry.time, ...entry.lines.flatMap(({ who, text }) => (who ? [who, text] : [text])));
    }
    for (const [at, line] of entry.lines.entries()) {
      line.part = parts[at];
      if (!line.who || !line.part.who) continue;
      const { name, color } = line.part.who;
      line.who.dataset.speaker = String(color);
      if (line.who.textContent === name) continue;
      line.who.textContent = name;
      line.who.setAttribute("aria-label", `${name}, change the name`);
    }
  }

  /** @param {SpokenPart} part @param {Final} final @returns {Line} */
  #line(part, { language }) {
    const text = document.createElement("span");
    text.className = "text";
    text.dir = "auto";
    text.textContent = part.text;
    if (language && language !== "auto") text.lang = language;
    /** @type {Line} */
    const line = { part, who: null, text };
    if (!part.who) return line;
    const who = document.createElement("button");
    who.type = "button";
    who.className = "who";
    who.title = "Change the name";
    who.addEventListener("click", () => {
      editName(who, (name) => line.part.who && this.#onRename(line.part.who.key, name));
    });
    line.who = who;
    return line;
  }

  /** Who goes on speaking is not named again: neither in this entry nor in the next one. @param {Element} item */
  #nameOnce(item) {
    for (const later of [item, item.nextElementSibling]) {
      const earlier = this.#entryOf(later?.previousElementSibling)?.lines.at(-1)?.part.who;
      const first = this.#entryOf(later)?.lines[0].part.who;
      later?.toggleAttribute("data-continues", Boolean(first && first.name === earlier?.name));
    }
  }

  /** @param {Element | null | undefined} item */
  #entryOf(item) {
    return item instanceof HTMLElement ? this.#entries.get(Number(item.dataset.segmentId)) : undefined;
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
