import assert from "node:assert/strict";
import { test } from "node:test";

import { cutCues } from "../stream_browser/shared/cue.js";
import { FORMATS, formatClock, writeJson, writeSrt, writeText, writeVtt } from "../stream_browser/shared/transcript.js";

const HELLO = {
  text: "Hello there, world.",
  start_ms: 420,
  end_ms: 1280,
  confidence: 0.9,
  language: "en",
  channel: 0,
  words: [
    { word: "Hello", start_ms: 430, end_ms: 700, confidence: 0.96 },
    { word: "there,", start_ms: 720, end_ms: 900, confidence: 0.95 },
    { word: "world.", start_ms: 910, end_ms: 1260, confidence: 0.9 },
  ],
};

/** @param {string} text @param {number} start_ms @param {number} end_ms @param {object} [more] */
const say = (text, start_ms, end_ms, more = {}) => ({ text, start_ms, end_ms, ...more });

test("srt has numbered cues with decimal commas, shown long enough to be read", () => {
  assert.equal(
    writeSrt([HELLO, say("Bye.", 3_661_002, 3_661_100)]),
    "1\n00:00:00,430 --> 00:00:01,547\nHello there, world.\n\n2\n01:01:01,002 --> 01:01:01,702\nBye.\n",
  );
});

test("vtt escapes markup and has the speaker as a voice", () => {
  assert.equal(
    writeVtt([say("a < b & c", 0, 1000, { speaker: "Tom & Ann" })]),
    "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n<v Tom &amp; Ann>a &lt; b &amp; c\n",
  );
});

test("a vtt of nothing is still a vtt", () => {
  assert.equal(writeVtt([]), "WEBVTT\n");
  assert.equal(writeVtt([say(" \n ", 0, 100)]), "WEBVTT\n");
});

test("text names the speaker only where it changes, and keeps each segment on a line", () => {
  const segments = [
    say("one", 0, 1, { speaker: "Ann" }),
    say("two\nlines", 2, 3, { speaker: "Ann" }),
    say("three", 4, 5, { speaker: "Tom" }),
    say("", 6, 7, { speaker: "Ann" }),
  ];
  assert.equal(writeText(segments), "Ann: one\ntwo lines\nTom: three\n");
});

test("srt writes the speaker before the words where it changes", () => {
  const srt = writeSrt([say("one", 0, 900, { speaker: "Ann" }), say("two", 1000, 1900, { speaker: "Ann" })]);
  assert.match(srt, /\nAnn: one\n/);
  assert.match(srt, /\ntwo\n/);
});

test("segments are written in order of time, whatever order they came in, and are not moved", () => {
  const segments = [say("second", 2000, 3000, { channel: 1 }), say("first", 0, 1000)];
  assert.equal(writeText(segments), "first\nsecond\n");
  assert.equal(segments[0].text, "second");
});

test("json holds seconds, and null where nothing is known", () => {
  const document = JSON.parse(writeJson([HELLO, say("Bye.", 2000, 2500)]));
  assert.equal(document.text, "Hello there, world. Bye.");
  assert.equal(document.language, "en");
  assert.equal(document.duration, 2.5);
  assert.deepEqual(document.segments[0].words[0], { word: "Hello", start: 0.43, end: 0.7, confidence: 0.96 });
  assert.deepEqual(document.segments[1], {
    start: 2, end: 2.5, text: "Bye.", confidence: null, speaker: null, channel: 0, words: [],
  });
});

test("long speech is cut to cues of two lines of 42 characters and 7 seconds, without losing a word", () => {
  const words = Array.from({ length: 90 }, (_, index) => ({
    word: `word${index}${index % 9 === 8 ? "," : ""}`,
    start_ms: index * 350,
    end_ms: index * 350 + 300,
  }));
  const text = words.map(({ word }) => word).join(" ");
  const cues = cutCues([{ text, start_ms: 0, end_ms: 31_450, words }]);
  assert.equal(cues.flatMap(({ lines }) => lines).join(" "), text);
  for (const [index, cue] of cues.entries()) {
    assert.ok(cue.lines.length <= 2 && cue.lines.every((line) => line.length <= 42), cue.lines.join("|"));
    assert.ok(cue.end_ms - cue.start_ms <= 7000);
    assert.ok(cue.end_ms <= (cues[index + 1]?.start_ms ?? Infinity), "cues follow each other");
  }
  assert.ok(cues.length > 5);
});

test("a pause in a segment starts a new cue", () => {
  const words = [{ word: "Wait", start_ms: 0, end_ms: 300 }, { word: "here.", start_ms: 2000, end_ms: 2300 }];
  const cues = cutCues([{ text: "Wait here.", start_ms: 0, end_ms: 2300, words }]);
  assert.deepEqual(cues.map(({ lines, start_ms }) => [lines, start_ms]), [[["Wait"], 0], [["here."], 2000]]);
});

test("scripts without spaces stay without, and a word longer than a line is cut between code points", () => {
  const words = [{ word: "今日は", start_ms: 0, end_ms: 500 }, { word: "晴れ", start_ms: 500, end_ms: 900 }];
  assert.deepEqual(cutCues([{ text: "今日は晴れ", start_ms: 0, end_ms: 900, words }])[0].lines, ["今日は晴れ"]);
  const cues = cutCues([say("😀".repeat(60), 0, 3000)]);
  assert.equal(cues.flatMap(({ lines }) => lines).join(""), "😀".repeat(60));
  assert.ok(cues.every(({ lines }) => lines.every((line) => line.isWellFormed())));
});

test("a segment without words has its time spread over its letters", () => {
  const [cue] = cutCues([say("ab cd", 1000, 2000)]);
  assert.deepEqual([cue.start_ms, cue.end_ms], [1000, 2000]);
});

test("every format has a name, a media type and a text", () => {
  assert.deepEqual(Object.keys(FORMATS), ["txt", "srt", "vtt", "json"]);
  for (const { name, type, write } of Object.values(FORMATS)) {
    assert.ok(name && type.includes("/"));
    assert.ok(write([HELLO]).includes("Hello"));
  }
});

test("clocks for people", () => {
  assert.deepEqual([0, 7_900, 760_000, 3_723_000].map(formatClock), ["0:00", "0:07", "12:40", "1:02:03"]);
});
