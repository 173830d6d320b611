/**
 * Searching the finals: what does not match is hidden, what does is marked, and the matches are counted. It knows the
 * entries of the timeline, and nothing of how they came.
 */

import { findAll } from "../shared/search.js";

/** @typedef {import("./timeline-view.js").Entry} Entry */

const PAUSE_MS = 120; // of the typing
const SILENT_MS = 1000;

export class SearchView {
  #input;
  #found;
  #list;
  #entries;
  #query = "";
  #matches = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {HTMLInputElement} input
   * @param {HTMLElement} found where the count stands
   * @param {HTMLElement} list a live region, which is silent while entries come and go by a search
   * @param {() => Iterable<Entry>} entries
   */
  constructor(input, found, list, entries) {
    this.#input = input;
    this.#found = found;
    this.#list = list;
    this.#entries = entries;
    input.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#search(), PAUSE_MS);
    });
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !input.value) return;
      event.stopPropagation();
      this.clear();
    });
  }

  /** A final that has just come. @param {Entry} entry */
  add(entry) {
    if (!this.#query) return;
    this.#matches += this.#mark(entry);
    this.#count();
  }

  /** A final whose speakers are others now; its words are the same. @param {Entry} entry */
  revise(entry) {
    if (this.#query) this.#mark(entry);
  }

  clear() {
    this.#input.value = "";
    this.#search();
  }

  #search() {
    this.#query = this.#input.value.trim();
    this.#list.toggleAttribute("data-searched", this.#query !== "");
    this.#matches = 0;
    this.#list.ariaLive = "off";
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.#list.ariaLive = "polite"), SILENT_MS);
    for (const entry of this.#entries()) this.#matches += this.#mark(entry);
    this.#count();
  }

  /** @param {Entry} entry @returns {number} how often it matches */
  #mark({ item, lines, final }) {
    const ranges = findAll(final.text, this.#query);
    item.hidden = this.#query !== "" && ranges.length === 0;
    for (const { part, text } of lines) {
      if (!ranges.length && !text.firstElementChild) continue; // nothing was marked, and nothing is
      const nodes = [];
      let position = 0;
      for (const range of ranges) {
        const [start, end] = range.map((at) => Math.min(Math.max(at - part.start, 0), part.text.length));
        if (start === end) continue;
        const mark = document.createElement("mark");
        mark.textContent = part.text.slice(start, end);
        nodes.push(part.text.slice(position, start), mark);
        position = end;
      }
      text.replaceChildren(...nodes, part.text.slice(position));
    }
    return ranges.length;
  }

  #count() {
    const words = this.#matches === 1 ? "1 match" : `${this.#matches || "No"} matches`;
    this.#found.textContent = this.#query ? words : "";
  }
}
