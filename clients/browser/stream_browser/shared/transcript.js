/**
 * A list of segments as a text file: txt, srt, vtt or json, written as the server writes them. Pure functions; they
 * know nothing of pages, files or events.
 */

import { cutCues, oneLine } from "./cue.js";

/**
 * @typedef {object} Word
 * @property {string} word as written, punctuation attached
 * @property {number} start_ms
 * @property {number} end_ms
 * @property {number} [confidence] from 0 to 1
 * @property {string} [speaker] as the server names it
 */

/**
 * @typedef {object} Segment One final stretch of speech; times from the start of the transcript.
 * @property {string} text
 * @property {number} start_ms
 * @property {number} end_ms
 * @property {Word[]} [words]
 * @property {string | null} [speaker] as it is to be read: "Speaker A", "Channel 2"
 * @property {number} [channel] from 0
 * @property {number} [confidence] from 0 to 1
 * @property {string} [language]
 */

/** What can be downloaded: the ending of the file name, its media type, and its text. */
export const FORMATS = Object.freeze({
  txt: { name: "Text", type: "text/plain", write: writeText },
  srt: { name: "SRT", type: "application/x-subrip", write: writeSrt },
  vtt: { name: "VTT", type: "text/vtt", write: writeVtt },
  json: { name: "JSON", type: "application/json", write: writeJson },
});

/**
 * The segments with words in order of time.
 *
 * @param {readonly Segment[]} segments
 */
function spoken(segments) {
  const said = segments.filter(({ text }) => oneLine(text));
  return said.sort((one, other) => one.start_ms - other.start_ms || (one.channel ?? 0) - (other.channel ?? 0));
}

/**
 * A line for each segment, with the speaker where it changes; empty for silence.
 *
 * @param {readonly Segment[]} segments
 */
export function writeText(segments) {
  let before = "";
  let text = "";
  for (const segment of spoken(segments)) {
    const speaker = oneLine(segment.speaker ?? "");
    text += `${speaker && speaker !== before ? `${speaker}: ` : ""}${oneLine(segment.text)}\n`;
    before = speaker;
  }
  return text;
}

/**
 * SubRip: numbered cues, decimal comma, the speaker before the words where it changes.
 *
 * @param {readonly Segment[]} segments
 */
export function writeSrt(segments) {
  const cues = cutCues(spoken(segments), { labels: true });
  return cues.map((cue, index) => `${index + 1}\n${span(cue, ",")}\n${cue.lines.join("\n")}\n`).join("\n");
}

/**
 * WebVTT: decimal point, markup escaped, the speaker as a voice span.
 *
 * @param {readonly Segment[]} segments
 */
export function writeVtt(segments) {
  const blocks = cutCues(spoken(segments)).map((cue) => {
    const voice = cue.speaker ? `<v ${escapeMarkup(cue.speaker)}>` : "";
    return `${span(cue, ".")}\n${voice}${cue.lines.map(escapeMarkup).join("\n")}\n`;
  });
  return ["WEBVTT\n", ...blocks].join("\n");
}

/**
 * Everything that is known, for programs. Times are seconds, as in all file formats.
 *
 * @param {readonly Segment[]} segments
 */
export function writeJson(segments) {
  const said = spoken(segments);
  const document = {
    text: said.map(({ text }) => text).join(" "),
    language: said[0]?.language ?? "",
    duration: said.reduce((end, { end_ms }) => Math.max(end, end_ms), 0) / 1000,
    segments: said.map((segment) => ({
      start: segment.start_ms / 1000,
      end: segment.end_ms / 1000,
      text: segment.text,
      confidence: segment.confidence ?? null,
      speaker: segment.speaker ?? null,
      channel: segment.channel ?? 0,
      words: (segment.words ?? []).map(({ word, start_ms, end_ms, confidence }) => ({
        word,
        start: start_ms / 1000,
        end: end_ms / 1000,
        confidence: confidence ?? null,
      })),
    })),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/**
 * For people: 0:07, 12:40, 1:02:03.
 *
 * @param {number} ms
 */
export function formatClock(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const rest = `${pad(seconds % 60)}`;
  return hours ? `${hours}:${pad(minutes)}:${rest}` : `${minutes}:${rest}`;
}

/** @param {{ start_ms: number, end_ms: number }} cue @param {string} point */
function span({ start_ms, end_ms }, point) {
  return `${stamp(start_ms, point)} --> ${stamp(end_ms, point)}`;
}

/** @param {number} time @param {string} point */
function stamp(time, point) {
  const ms = Math.max(0, Math.round(time));
  const seconds = Math.floor(ms / 1000);
  const clock = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map((part) => pad(part));
  return `${clock.join(":")}${point}${pad(ms % 1000, 3)}`;
}

/** @param {number} number @param {number} [digits] */
function pad(number, digits = 2) {
  return String(number).padStart(digits, "0");
}

/** @param {string} text */
function escapeMarkup(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
