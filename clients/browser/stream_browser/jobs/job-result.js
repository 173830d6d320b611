/**
 * The result of a job as segments and words with times in milliseconds, as live finals have them.
 *
 * It knows the server's `verbose_json`, and nothing of how it is shown.
 */

/** @typedef {{ word: string, start_ms: number, end_ms: number, confidence: number }} Word */

/**
 * @typedef {object} Segment
 * @property {number} segment_id
 * @property {string} text
 * @property {number} start_ms
 * @property {number} end_ms
 * @property {number} confidence 0 to 1
 * @property {string | null} speaker
 * @property {Word[]} words empty where the job was made without them
 */

/**
 * A stretch of a segment's text; `word` is the place of its word in the segment, -1 between words.
 * @typedef {{ text: string, word: number }} Piece
 */

/**
 * A result that has no times, since its job was made for another format, is one segment.
 * @param {any} result of a completed job of `/v1/transcription-jobs`: an object, or text
 * @returns {{ segments: Segment[], durationMs: number, language: string }}
 */
export function readResult(result) {
  const duration = result.duration ?? result.usage?.seconds ?? 0;
  const text = (typeof result === "string" ? result : result.text).trim();
  const whole = text ? [{ start: 0, end: duration, text }] : [];
  return {
    segments: (result.segments ?? whole).map(readSegment),
    durationMs: milliseconds(duration),
    language: result.languages?.[0]?.code ?? "",
  };
}

/**
 * The text of a segment in pieces, every character of it once: its words, and what stands between them.
 *
 * The text is the truth; where a word cannot be found in it, the segment is one piece that belongs to no word.
 * @param {Segment} segment
 * @returns {Piece[]}
 */
export function piecesOf({ text, words }) {
  /** @type {Piece[]} */
  const pieces = [];
  let end = 0;
  for (const [place, { word }] of words.entries()) {
    const start = word ? text.indexOf(word, end) : -1;
    if (start < 0) return [{ text, word: -1 }];
    if (start > end) pieces.push({ text: text.slice(end, start), word: -1 });
    end = start + word.length;
    pieces.push({ text: word, word: place });
  }
  if (end < text.length) pieces.push({ text: text.slice(end), word: -1 });
  return pieces;
}

/**
 * @param {any} segment
 * @param {number} place
 * @returns {Segment}
 */
function readSegment(segment, place) {
  return {
    segment_id: segment.id ?? place,
    text: segment.text,
    start_ms: milliseconds(segment.start),
    end_ms: milliseconds(segment.end),
    confidence: Math.exp(segment.avg_logprob ?? 0),
    speaker: segment.speaker ?? null,
    words: (segment.words ?? []).map(readWord),
  };
}

/**
 * @param {any} word
 * @returns {Word}
 */
function readWord({ word, start, end, score }) {
  return { word, start_ms: milliseconds(start), end_ms: milliseconds(end), confidence: score ?? 1 };
}

/** @param {number} seconds */
function milliseconds(seconds) {
  return Math.round(seconds * 1000);
}
