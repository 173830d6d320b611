/**
 * A final by who speaks: stretches of its text, one after the other, each of one speaker. Pure; it knows labels, and
 * nothing of names.
 */

/** @typedef {import("./caption-state.js").Final} Final */
/** @typedef {import("../shared/transcript.js").Word} Word */

/**
 * @typedef {object} Part
 * @property {string} text
 * @property {number} start where it begins in the text of the final
 * @property {number} start_ms
 * @property {number} end_ms
 * @property {Word[]} words
 * @property {string} [speaker] as the server names it
 */

/**
 * The text is the truth: where a word cannot be found in it, all of it belongs to whom the final names.
 *
 * @param {Pick<Final, "text" | "words" | "speaker" | "start_ms" | "end_ms">} final
 * @returns {Part[]} one at least
 */
export function partsOf(final) {
  const { text, words, speaker, start_ms, end_ms } = final;
  const whole = { text, start: 0, start_ms, end_ms, words, ...(speaker && { speaker }) };
  if (words.every((word) => !word.speaker || word.speaker === speaker)) return [whole];
  /** @type {Part[]} */
  const parts = [];
  let end = 0;
  for (const word of words) {
    const start = text.indexOf(word.word, end);
    if (start < 0) return [whole];
    end = start + word.word.length;
    const before = parts.at(-1);
    const who = word.speaker ?? before?.speaker ?? speaker;
    if (before && before.speaker === who) before.words.push(word);
    else parts.push({ ...whole, start: before ? start : 0, start_ms: word.start_ms, words: [word], speaker: who });
  }
  parts[0].start_ms = start_ms;
  for (const [at, part] of parts.entries()) {
    const after = parts[at + 1];
    part.text = text.slice(part.start, after?.start).trimEnd();
    if (after) part.end_ms = /** @type {Word} */ (part.words.at(-1)).end_ms;
  }
  return parts;
}
