/**
 * Who spoke, as it is shown: a name, and a colour of the palette. By the speaker that the server names, else by channel
 * where there are several; one voice on one channel has neither. It does not know how colours look.
 */

/** The palette of style.css has so many colours; then they come again. */
export const COLORS = 8;

/** @typedef {{ name: string, color: number }} Speaker */

export class Speakers {
  /** @type {Map<string, Speaker>} in order of their first word */
  #known = new Map();

  /**
   * @param {{ speaker?: string, channel: number, channels: number }} said
   * @returns {Speaker | null} null where there is no telling apart
   */
  of({ speaker, channel, channels }) {
    if (speaker) return this.#named(speaker);
    return channels > 1 ? { name: `Channel ${channel + 1}`, color: channel % COLORS } : null;
  }

  /** @param {string} speaker */
  #named(speaker) {
    const known = this.#known.get(speaker);
    if (known) return known;
    const made = { name: readable(speaker), color: this.#known.size % COLORS };
    if (this.#known.size < 1000) this.#known.set(speaker, made);
    return made;
  }
}

/** "A" and "speaker_0" are labels; anything else is a name already. @param {string} speaker */
function readable(speaker) {
  const label = /^(?:speaker|spk)?[\s_-]*([a-z]|\d{1,3})$/i.exec(speaker.trim());
  return label ? `Speaker ${label[1].toUpperCase()}` : speaker.trim();
}
