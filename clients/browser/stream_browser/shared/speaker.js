/**
 * Who spoke, as it is shown: a name, and a colour of the palette. By the speaker that the server names, else by channel
 * where there are several; one voice on one channel has neither. Somebody may give them other names. It does not know
 * how colours look.
 */

import { speakerNumber } from "../client/speaker-label.js";
import { oneLine } from "./cue.js";

/** The palette of style.css has so many colours; then they come again. */
export const COLORS = 8;
/** So many letters a name may have. */
export const NAME_CHARS = 60;

/** @typedef {{ key: string, name: string, color: number }} Speaker `key`: who it is, whatever the name */

export class Speakers {
  /** @type {Map<string, Speaker>} in order of their first word */
  #known = new Map();
  /** @type {Map<string, string>} by key */
  #given;

  /** @param {Iterable<[string, string]>} [given] names that somebody gave, by key */
  constructor(given = []) {
    this.#given = new Map(given);
  }

  /** @returns {[string, string][]} names that somebody gave, by key */
  get given() {
    return [...this.#given];
  }

  /**
   * @param {{ speaker?: string | null, channel: number, channels: number }} said
   * @returns {Speaker | null} null where there is no telling apart
   */
  of({ speaker, channel, channels }) {
    // Where there are several channels, a label says again which one it is.
    if (speaker && (channels === 1 || speakerNumber(speaker) !== channel)) return this.#shown(this.#named(speaker));
    if (channels === 1) return null;
    return this.#shown({ key: `channel ${channel}`, name: `Channel ${channel + 1}`, color: channel % COLORS });
  }

  /** Give a name; an empty one, or that of the speaker itself, takes it back. @param {string} key @param {string} name */
  rename(key, name) {
    const given = oneLine(name).slice(0, NAME_CHARS).trim();
    if (given && given !== this.#known.get(key)?.name) this.#given.set(key, given);
    else this.#given.delete(key);
  }

  clear() {
    this.#known.clear();
    this.#given.clear();
  }

  /** @param {string} speaker */
  #named(speaker) {
    const known = this.#known.get(speaker);
    if (known) return known;
    const made = { key: speaker, name: readable(speaker), color: this.#known.size % COLORS };
    if (this.#known.size < 1000) this.#known.set(speaker, made);
    return made;
  }

  /** Who has the same name looks the same. @param {Speaker} own */
  #shown(own) {
    const nameOf = (/** @type {Speaker} */ speaker) => this.#given.get(speaker.key) ?? speaker.name;
    const name = nameOf(own);
    const first = [...this.#known.values()].find((speaker) => nameOf(speaker) === name) ?? own;
    return { key: own.key, name, color: first.color };
  }
}

/** "SPEAKER_00", "A" and "speaker_0" are labels; anything else is a name already. @param {string} speaker */
function readable(speaker) {
  const number = speakerNumber(speaker);
  if (number >= 0) return `Speaker ${number + 1}`;
  const label = /^(?:speaker|spk)?[\s_-]*([a-z]|\d{1,3})$/i.exec(speaker.trim());
  return label ? `Speaker ${label[1].toUpperCase()}` : oneLine(speaker);
}
