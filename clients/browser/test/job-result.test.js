import assert from "node:assert/strict";
import { test } from "node:test";

import { piecesOf, readResult } from "../stream_browser/jobs/job-result.js";

const WORDS = [
  { word: "It", start: 0.12, end: 0.3, score: 0.9 },
  { word: "was,", start: 0.3, end: 0.61, score: 0.2 },
];

test("seconds become milliseconds, and confidences come back from their logarithms", () => {
  const result = readResult({
    text: "It was,",
    duration: 44.27,
    languages: [{ code: "en" }],
    segments: [
      { id: 0, start: 0.12, end: 0.61, text: "It was,", avg_logprob: Math.log(0.75), speaker: null, words: WORDS },
    ],
  });
  assert.deepEqual([result.durationMs, result.language], [44_270, "en"]);
  const segment = result.segments[0];
  assert.deepEqual([segment.start_ms, segment.end_ms, segment.speaker], [120, 610, null]);
  assert.ok(Math.abs(segment.confidence - 0.75) < 1e-9);
  assert.deepEqual(segment.words[1], { word: "was,", start_ms: 300, end_ms: 610, confidence: 0.2 });
});

test("a job made for another format is one segment without words", () => {
  const subtitles = readResult("1\n00:00:00,000 --> 00:00:01,000\nHello\n");
  assert.deepEqual(subtitles.segments.map(({ text, words }) => [text, words.length]), [
    ["1\n00:00:00,000 --> 00:00:01,000\nHello", 0],
  ]);
  const minimal = readResult({ text: "Hello", usage: { seconds: 1.5 } });
  assert.deepEqual([minimal.segments[0].end_ms, minimal.durationMs], [1_500, 1_500]);
  assert.deepEqual(readResult({ text: "", segments: [], duration: 3 }).segments, []);
  assert.deepEqual(readResult("\n").segments, []);
});

/** @param {string} text @param {string[]} words */
const pieces = (text, words) =>
  piecesOf({
    segment_id: 0, text, start_ms: 0, end_ms: 9, confidence: 1, speaker: null,
    words: words.map((word) => ({ word, start_ms: 0, end_ms: 0, confidence: 1 })),
  });

test("the pieces of a segment are its text, whatever stands between the words", () => {
  assert.deepEqual(pieces("It was, it was.", ["It", "was,", "it", "was."]), [
    { text: "It", word: 0 }, { text: " ", word: -1 }, { text: "was,", word: 1 }, { text: " ", word: -1 },
    { text: "it", word: 2 }, { text: " ", word: -1 }, { text: "was.", word: 3 },
  ]);
  assert.deepEqual(pieces("«今日は»", ["今日", "は"]), [
    { text: "«", word: -1 }, { text: "今日", word: 0 }, { text: "は", word: 1 }, { text: "»", word: -1 },
  ]);
});

test("where the words do not fit the text, the text stands", () => {
  assert.deepEqual(pieces("It was", ["It", "is"]), [{ text: "It was", word: -1 }]);
  assert.deepEqual(pieces("It was", [""]), [{ text: "It was", word: -1 }]);
  assert.deepEqual(pieces("It was", []), [{ text: "It was", word: -1 }]);
});
