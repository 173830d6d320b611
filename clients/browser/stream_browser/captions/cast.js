/**
 * Who speaks in the transcript: its finals as parts with the names and colours of their speakers, and as segments of
 * files. It does not know how they are shown, or where names are kept.
 */

import { partsOf } from "./part.js";
import { Speakers } from "../shared/speaker.js";

/** @typedef {import("./caption-state.js").Final} Final */
/** @typedef {import("../shared/speaker.js").Speaker} Speaker */
/** @typedef {import("./part.js").Part & { who: Speaker | null }} SpokenPart */

export class Cast {
  #speakers;

  /** @param {Iterable<[string, string]>} [names] that somebody gave */
  constructor(names) {
    this.#speakers = new Speakers(names);
  }

  /** @returns {[string, string][]} names that somebody gave */
  get names() {
    return this.#speakers.given;
  }

  /** @param {Final} final @returns {SpokenPart[]} */
  partsOf(final) {
    const { channel, channels } = final;
    return partsOf(final).map((part) => ({ ...part, who: this.#speakers.of({ ...part, channel, channels }) }));
  }

  /** Who speaks in what is not final yet, as far as that is known. @param {number} channel @param {number} channels */
  atChannel(channel, channels) {
    return this.#speakers.of({ channel, channels });
  }

  /** As it is written to files: a segment for each part. @param {Final} final */
  segmentsOf(final) {
    return this.partsOf(final).map(({ text, start_ms, end_ms, words, who }) => (
      { ...final, text, start_ms, end_ms, words, speaker: who?.name ?? null }
    ));
  }

  /**
   * Give a speaker another name.
   *
   * @param {string} key
   * @param {string} name empty for the own one
   * @param {readonly Final[]} finals
   * @returns {Final[]} those that look different now
   */
  rename(key, name, finals) {
    const before = finals.map((final) => lookOf(this.partsOf(final)));
    this.#speakers.rename(key, name);
    return finals.filter((final, at) => lookOf(this.partsOf(final)) !== before[at]);
  }

  clear() {
    this.#speakers.clear();
  }
}

/** @param {SpokenPart[]} parts */
function lookOf(parts) {
  return JSON.stringify(parts.map(({ who }) => who));
}
