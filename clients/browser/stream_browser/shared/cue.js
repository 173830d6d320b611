/**
 * Segments cut to subtitle cues: at most two lines, at word times, long enough on the screen to be read.
 *
 * The limits are the server's own (Netflix's Timed Text Style Guide): 42 characters to a line, two lines, 7 seconds, 17
 * characters a second. Words are never left out, and a cue never runs into the next one. It does not know file formats.
 */

/** @typedef {import("./transcript.js").Segment} Segment */
/** @typedef {{ start_ms: number, end_ms: number, lines: string[], speaker: string }} Cue */
/** @typedef {{ text: string, spaced: boolean, start_ms: number, end_ms: number }} Piece a word, or part of a long one */

const LINE_CHARS = 42;
const CUE_MS = 7000;
const SHORTEST_CUE_MS = 700;
const CHARS_PER_SEC = 17;
const PAUSE_MS = 1500; // as long a pause starts a new cue
const SENTENCE_ENDS = ".?!。？！";
const CLAUSE_ENDS = `,;:、，${SENTENCE_ENDS}`;

/**
 * Whatever was said or called, without what would break a line or a file; marks that join or direct letters stay.
 *
 * @param {string} text
 */
export function oneLine(text) {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\s]+/gu, " ").trim();
}

/**
 * @param {readonly Segment[]} segments in order of time
 * @param {{ labels?: boolean }} [options] labels: the speaker is written before the words where it changes
 * @returns {Cue[]} in order of time
 */
export function cutCues(segments, { labels = false } = {}) {
  /** @type {Cue[]} */
  const cues = [];
  let before = "";
  for (const segment of segments) {
    const speaker = oneLine(segment.speaker ?? "");
    cues.push(...cutSegment(segment, speaker, labels && speaker && speaker !== before ? `${speaker}:` : ""));
    before = speaker;
  }
  cues.sort((one, other) => one.start_ms - other.start_ms);
  /** @type {Cue | undefined} */
  let next;
  for (let index = cues.length - 1; index >= 0; index--) {
    const [cue, later] = [cues[index], cues[index + 1]];
    if (later && later.start_ms > cue.start_ms) next = later;
    lengthen(cue, next);
  }
  return cues;
}

/** Shown until it can be read, but not into the next one. @param {Cue} cue @param {Cue | undefined} next */
function lengthen(cue, next) {
  const readingMs = (1000 * cue.lines.join("").length) / CHARS_PER_SEC;
  const wanted = cue.start_ms + Math.min(CUE_MS, Math.max(SHORTEST_CUE_MS, Math.floor(readingMs)));
  const end = Math.max(cue.end_ms, wanted);
  cue.end_ms = next ? Math.min(end, Math.max(cue.end_ms, next.start_ms)) : end;
}

/** @param {Segment} segment @param {string} speaker @param {string} label */
function cutSegment(segment, speaker, label) {
  /** @type {Cue[]} */
  const cues = [];
  /** @type {Piece[]} */
  let held = [];
  const show = (/** @type {number} */ count) => {
    const [first, last] = [held[0], held[count - 1]];
    const end = Math.max(last.end_ms, first.start_ms + 1);
    cues.push({ start_ms: first.start_ms, end_ms: end, lines: balanced(held.slice(0, count)), speaker });
    held = held.slice(count);
  };
  for (const piece of piecesOf(segment, label)) {
    while (held.length && !belongs(held, piece)) show(pauses(held, piece) ? held.length : clauseEnd(held));
    held.push(piece);
  }
  if (held.length) show(held.length);
  return cues;
}

/** @param {Piece[]} held @param {Piece} piece */
function pauses(held, piece) {
  return piece.start_ms - held[held.length - 1].end_ms >= PAUSE_MS;
}

/**
 * Whether the piece may join a cue: space and time are left, and no sentence ends it.
 *
 * @param {Piece[]} held
 * @param {Piece} piece
 */
function belongs(held, piece) {
  const sentenceOver = endsWith(held[held.length - 1], SENTENCE_ENDS) && join(held).length > LINE_CHARS;
  const fits = piece.end_ms - held[0].start_ms <= CUE_MS && filled([...held, piece]) <= 2;
  return !sentenceOver && fits && !pauses(held, piece);
}

/** How many pieces to show: to the last clause that ends on the second line, else all. @param {Piece[]} pieces */
function clauseEnd(pieces) {
  for (let count = pieces.length; count > 0 && join(pieces.slice(0, count)).length > LINE_CHARS; count--) {
    if (endsWith(pieces[count - 1], CLAUSE_ENDS)) return count;
  }
  return pieces.length;
}

/** The lines that the pieces need when each is filled. @param {Piece[]} pieces */
function filled(pieces) {
  let lines = 0;
  let length = Infinity;
  for (const { text, spaced } of pieces) {
    length += text.length + (spaced ? 1 : 0);
    if (length > LINE_CHARS) {
      lines += 1;
      length = text.length;
    }
  }
  return lines;
}

/** One line where all fits, else two of about one length, rather after a comma. @param {Piece[]} pieces */
function balanced(pieces) {
  if (filled(pieces) < 2) return [join(pieces)];
  let best = { cost: Infinity, lines: [join(pieces)] };
  for (let split = 1; split < pieces.length; split++) {
    const [first, second] = [join(pieces.slice(0, split)), join(pieces.slice(split))];
    const tooLong = Math.max(first.length, second.length) > LINE_CHARS ? 1000 : 0;
    const cost = Math.abs(first.length - second.length) + tooLong - (endsWith(pieces[split - 1], CLAUSE_ENDS) ? 8 : 0);
    if (cost < best.cost) best = { cost, lines: [first, second] };
  }
  return best.lines;
}

/** @param {Piece} piece @param {string} ends */
function endsWith(piece, ends) {
  return ends.includes(piece.text.slice(-1));
}

/** @param {Piece[]} pieces */
function join(pieces) {
  return pieces.map(({ text, spaced }) => (spaced ? ` ${text}` : text)).join("").trim();
}

/**
 * The words with their times, none longer than a line. Scripts without spaces stay without.
 *
 * @param {Segment} segment
 * @param {string} label comes before the words
 * @returns {Piece[]}
 */
function piecesOf(segment, label) {
  const text = oneLine(segment.text);
  const said = (segment.words ?? []).flatMap(({ word, start_ms, end_ms }) => share(oneLine(word), start_ms, end_ms));
  const words = said.length ? said : share(text, segment.start_ms, segment.end_ms);
  if (!words.length) return [];
  const pieces = label ? [{ text: label, spaced: true, start_ms: words[0].start_ms, end_ms: words[0].start_ms }] : [];
  let position = 0;
  for (const word of words) {
    const found = text.indexOf(word.text, position);
    const spaced = found !== position || position === 0;
    if (found >= 0) position = found + word.text.length;
    pieces.push(...cutWord(word, spaced));
  }
  return pieces;
}

/** @param {{ text: string, start_ms: number, end_ms: number }} word @param {boolean} spaced */
function cutWord({ text, start_ms, end_ms }, spaced) {
  const letters = [...text]; // code points: a pair of surrogates is not torn apart
  const at = (/** @type {number} */ index) => start_ms + Math.floor(((end_ms - start_ms) * index) / letters.length);
  /** @type {Piece[]} */
  const pieces = [];
  for (let start = 0; start < letters.length; start += LINE_CHARS) {
    const end = Math.min(start + LINE_CHARS, letters.length);
    const part = letters.slice(start, end).join("");
    pieces.push({ text: part, spaced: spaced && start === 0, start_ms: at(start), end_ms: at(end) });
  }
  return pieces;
}

/**
 * Words with times by their share of the letters.
 *
 * @param {string} text
 * @param {number} start_ms
 * @param {number} end_ms
 */
function share(text, start_ms, end_ms) {
  const words = text.split(" ").filter(Boolean);
  const total = words.reduce((sum, word) => sum + word.length, 0);
  let before = 0;
  return words.map((word) => {
    const start = start_ms + Math.floor(((end_ms - start_ms) * before) / total);
    before += word.length;
    return { text: word, start_ms: start, end_ms: start_ms + Math.floor(((end_ms - start_ms) * before) / total) };
  });
}
