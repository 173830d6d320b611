/**
 * Where a text holds what is searched for, whatever its case and its accents. It does not know lists or pages.
 */

/** @typedef {[start: number, end: number]} Range offsets in the text, in UTF-16 units as strings count */

/**
 * @param {string} text
 * @param {string} query surrounding space is not searched for
 * @returns {Range[]} from the first to the last, none overlapping; empty for an empty query
 */
export function findAll(text, query) {
  const wanted = fold(query.trim()).text;
  if (!wanted) return [];
  const { text: folded, origins } = fold(text);
  /** @type {Range[]} */
  const ranges = [];
  for (let at = folded.indexOf(wanted); at >= 0; at = folded.indexOf(wanted, at + wanted.length)) {
    ranges.push([origins[at], origins[at + wanted.length]]);
  }
  return ranges;
}

/** Without case and accents; `origins` says where each unit came from, and where the text ends. @param {string} text */
function fold(text) {
  let folded = "";
  /** @type {number[]} */
  const origins = [];
  let position = 0;
  for (const letter of text) {
    const plain = /\s/u.test(letter) ? " " : letter.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
    for (let index = 0; index < plain.length; index++) origins.push(position);
    folded += plain;
    position += letter.length;
  }
  origins.push(text.length);
  return { text: folded, origins };
}
