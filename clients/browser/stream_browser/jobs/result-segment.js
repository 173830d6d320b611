/**
 * One segment of a result as an item of the list: first its text alone, its words once it is near the window.
 *
 * Hours of speech have tens of thousands of words; a node for each would take seconds, and most are never looked at. It
 * knows neither the player nor the search, but for the places it is told to mark.
 */

import { piecesOf } from "./job-result.js";
import { formatClock } from "../shared/transcript.js";

/** Words with less confidence than this may be wrong. */
const DOUBTFUL = 0.5;

/** @typedef {import("./job-result.js").Segment} Segment */
/** @typedef {{ segment: number, start: number, end: number }} Hit characters `start` to `end` of a segment's text */

export class ResultSegment {
  /** @type {HTMLLIElement} */
  element = document.createElement("li");

  #segment;
  #text = document.createElement("p");
  /** @type {readonly Hit[]} */
  #hits = [];
  /** @type {Hit | null} */
  #chosen = null;
  #isNear = false;
  /** @type {Map<number, HTMLElement>} */
  #words = new Map();

  /**
   * @param {Segment} segment
   * @param {number} place in the list
   * @param {import("../shared/speaker.js").Speaker | null} speaker null where it is the one of the segment before
   */
  constructor(segment, place, speaker) {
    this.#segment = segment;
    this.element.className = "segment";
    this.element.dataset.place = String(place);
    this.element.dataset.segmentId = String(segment.segment_id);
    this.element.dataset.offsetMs = String(segment.start_ms);
    const clock = formatClock(segment.start_ms);
    const time = document.createElement("button");
    time.type = "button";
    time.className = "time";
    time.textContent = clock;
    time.setAttribute("aria-label", `Play from ${clock}`);
    this.element.append(time);
    if (speaker) {
      const who = document.createElement("span");
      who.className = "who";
      who.textContent = speaker.name;
      this.element.dataset.speaker = String(speaker.color);
      this.element.append(who);
    }
    this.#text.className = "text";
    this.#text.textContent = segment.text;
    this.element.append(this.#text);
  }

  /** It is near the window: its words get nodes, and what the search found is marked. */
  approach() {
    if (this.#isNear) return;
    this.#isNear = true;
    this.#render();
  }

  /**
   * @param {readonly Hit[]} hits in this segment
   * @param {Hit | null} chosen the one that is looked at
   */
  mark(hits, chosen) {
    if (hits.length === 0 && this.#hits.length === 0) return;
    this.#hits = hits;
    this.#chosen = chosen;
    if (this.#isNear) this.#render();
  }

  /** The node of a word, which there is once it is near; the text where there is none.
   * @param {number} word */
  nodeOf(word) {
    return this.#words.get(word) ?? this.#text;
  }

  #render() {
    const fragment = document.createDocumentFragment();
    this.#words.clear();
    let start = 0;
    for (const { text, word } of piecesOf(this.#segment)) {
      const content = this.#marked(text, start);
      start += text.length;
      if (word < 0) {
        fragment.append(...content);
        continue;
      }
      const node = document.createElement("span");
      node.className = this.#segment.words[word].confidence < DOUBTFUL ? "word doubtful" : "word";
      node.dataset.word = String(word);
      node.append(...content);
      this.#words.set(word, node);
      fragment.append(node);
    }
    this.#text.replaceChildren(fragment);
  }

  /**
   * A stretch of the text, with what was found in it as marks.
   * @param {string} text
   * @param {number} start where it begins in the segment
   * @returns {(string | HTMLElement)[]}
   */
  #marked(text, start) {
    const end = start + text.length;
    /** @type {(string | HTMLElement)[]} */
    const content = [];
    let done = start;
    for (const hit of this.#hits) {
      const [from, to] = [Math.max(hit.start, start), Math.min(hit.end, end)];
      if (from >= to) continue;
      if (from > done) content.push(text.slice(done - start, from - start));
      const mark = document.createElement("mark");
      mark.textContent = text.slice(from - start, to - start);
      if (hit === this.#chosen) mark.dataset.chosen = "";
      content.push(mark);
      done = to;
    }
    if (done < end) content.push(text.slice(done - start));
    return content;
  }
}
