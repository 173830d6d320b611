// Who speaks, as the pages show it: names and colours, finals in parts, rows of captions, segments of files.

import assert from "node:assert/strict";
import { test } from "node:test";

import { stepsOf } from "../stream_browser/captions/caption-feed.js";
import { Cast } from "../stream_browser/captions/cast.js";
import { partsOf } from "../stream_browser/captions/part.js";
import { COLORS, NAME_CHARS, Speakers } from "../stream_browser/shared/speaker.js";
import { writeSrt, writeText } from "../stream_browser/shared/transcript.js";

/** @param {string} speaker */
const mono = (speaker) => ({ speaker, channel: 0, channels: 1 });

/** Words of a second each. @param {string} text @param {string[]} [speakers] @param {object} [more] @returns {any} */
function final(text, speakers = [], more = {}) {
  const words = text.split(" ").map((word, at) => ({
    word, start_ms: at * 1000, end_ms: at * 1000 + 900, confidence: 1, ...(speakers[at] && { speaker: speakers[at] }),
  }));
  return {
    id: 4, text, start_ms: 0, end_ms: words.length * 1000, channel: 0, channels: 1, language: "en", confidence: 1,
    words,
    ...(speakers[0] && { speaker: speakers[0] }), ...more,
  };
}

test("a speaker has the name that the server knows, else a number, from 1", () => {
  const speakers = new Speakers();
  assert.equal(speakers.of({ channel: 0, channels: 1 }), null);
  assert.deepEqual(speakers.of(mono("SPEAKER_01")), { key: "SPEAKER_01", name: "Speaker 2", color: 0 });
  assert.deepEqual(speakers.of(mono("SPEAKER_00")), { key: "SPEAKER_00", name: "Speaker 1", color: 1 });
  assert.equal(speakers.of(mono("SPEAKER_104"))?.name, "Speaker 105");
  assert.equal(speakers.of(mono("speaker_0"))?.name, "Speaker 0", "as another server counts");
  assert.equal(speakers.of(mono("b"))?.name, "Speaker B");
  assert.equal(speakers.of(mono("Miss\nPross"))?.name, "Miss Pross");
  assert.equal(speakers.of(mono("SPEAKER_01"))?.color, 0, "the same again");
});

test("without speakers a channel is one, where there are several; a label says the same", () => {
  const speakers = new Speakers();
  const right = { key: "channel 1", name: "Channel 2", color: 1 };
  assert.deepEqual(speakers.of({ channel: 1, channels: 2 }), right);
  assert.deepEqual(speakers.of({ speaker: "SPEAKER_01", channel: 1, channels: 2 }), right);
  assert.equal(speakers.of({ speaker: "Anna", channel: 1, channels: 2 })?.name, "Anna");
});

test("a name that somebody gives is shown, one line of it, and can be taken back", () => {
  const speakers = new Speakers();
  speakers.of(mono("SPEAKER_00"));
  speakers.of(mono("SPEAKER_01"));
  speakers.rename("SPEAKER_01", "  Anna \n Lee ");
  assert.deepEqual(speakers.of(mono("SPEAKER_01")), { key: "SPEAKER_01", name: "Anna Lee", color: 1 });
  assert.deepEqual(speakers.given, [["SPEAKER_01", "Anna Lee"]]);
  assert.deepEqual(new Speakers(speakers.given).of(mono("SPEAKER_01"))?.name, "Anna Lee");
  speakers.rename("SPEAKER_01", "x".repeat(1000));
  assert.equal(speakers.of(mono("SPEAKER_01"))?.name.length, NAME_CHARS);
  for (const own of ["", "Speaker 2"]) {
    speakers.rename("SPEAKER_01", "Anna");
    speakers.rename("SPEAKER_01", own);
    assert.deepEqual([speakers.of(mono("SPEAKER_01"))?.name, speakers.given], ["Speaker 2", []]);
  }
});

test("who gets the same name gets the same colour", () => {
  const speakers = new Speakers();
  for (const label of ["SPEAKER_00", "SPEAKER_01", "SPEAKER_02"]) speakers.of(mono(label));
  speakers.rename("SPEAKER_02", "Anna");
  speakers.rename("SPEAKER_01", "Anna");
  const colors = ["SPEAKER_00", "SPEAKER_01", "SPEAKER_02"].map((label) => speakers.of(mono(label))?.color);
  assert.deepEqual(colors, [0, 1, 1]);
});

test("colours come again when there are no more", () => {
  const speakers = new Speakers();
  const colors = Array.from({ length: COLORS + 1 }, (_, at) => speakers.of(mono(`SPEAKER_0${at}`))?.color);
  assert.deepEqual(colors, [0, 1, 2, 3, 4, 5, 6, 7, 0]);
});

test("a final is cut where the speaker changes, and its text stays whole", () => {
  const parts = partsOf(final("Well, yes. And you? Fine.", ["A", "A", "B", "B", "A"]));
  assert.deepEqual(
    parts.map(({ text, start, start_ms, end_ms, speaker }) => [text, start, start_ms, end_ms, speaker]),
    [["Well, yes.", 0, 0, 1900, "A"], ["And you?", 11, 2000, 3900, "B"], ["Fine.", 20, 4000, 5000, "A"]],
  );
  assert.deepEqual(parts.map(({ words }) => words.length), [2, 2, 1]);
});

test("a final of one speaker, or of nobody, is one part", () => {
  const alone = final("one two", ["A", "A"]);
  assert.deepEqual(partsOf(alone), [
    { text: "one two", start: 0, start_ms: 0, end_ms: 2000, words: alone.words, speaker: "A" },
  ]);
  assert.equal("speaker" in partsOf(final("one two"))[0], false);
  assert.equal(partsOf(final("one two", [], { words: [], speaker: "A" }))[0].speaker, "A");
});

test("words that are not in the text cut nothing", () => {
  const odd = final("one two", ["A", "B"]);
  odd.text = "One two";
  assert.deepEqual(partsOf(odd).map(({ text, speaker }) => [text, speaker]), [["One two", "A"]]);
});

test("a word of nobody goes with the one before; scripts without spaces are cut as well", () => {
  const odd = final("one two three", ["A", "", "B"]);
  assert.deepEqual(partsOf(odd).map(({ text }) => text), ["one two", "three"]);
  const joined = { ...final("は い 元", ["A", "A", "B"]), text: "はい元" };
  assert.deepEqual(partsOf(joined).map(({ text }) => text), ["はい", "元"]);
});

test("files have the names, for each part", () => {
  const cast = new Cast();
  const said = [final("Well, yes. Fine.", ["SPEAKER_00", "SPEAKER_00", "SPEAKER_01"])];
  assert.equal(writeText(said.flatMap((one) => cast.segmentsOf(one))), "Speaker 1: Well, yes.\nSpeaker 2: Fine.\n");
  assert.deepEqual(cast.rename("SPEAKER_01", "Anna", said), said);
  const segments = said.flatMap((one) => cast.segmentsOf(one));
  assert.equal(writeText(segments), "Speaker 1: Well, yes.\nAnna: Fine.\n");
  assert.match(writeSrt(segments), /00:00:02,000 --> .*\nAnna: Fine\.\n/);
  assert.deepEqual(cast.names, [["SPEAKER_01", "Anna"]]);
});

test("a new name changes the finals of those who have its colour too, and no others", () => {
  const cast = new Cast();
  const [one, two] = [final("one", ["SPEAKER_00"]), final("two", ["SPEAKER_01"])];
  cast.rename("", "", [one, two]);
  assert.deepEqual(cast.rename("SPEAKER_01", "Anna", [one, two]), [two]);
  assert.deepEqual(cast.rename("SPEAKER_01", "Anna", [one, two]), []);
  cast.clear();
  assert.deepEqual(cast.names, []);
});

test("rows: a live segment has what is stable and the rest, a final a part for each speaker", () => {
  const cast = new Cast();
  const live = { id: 4, channel: 1, start_ms: 0, stable: "one", unstable: " two", isSpeaking: true };
  assert.deepEqual(stepsOf({ kind: "live", live, hasNewText: true }, cast, 2), [
    {
      kind: "show",
      row: { key: 4, parts: [{ name: "Channel 2", color: 1, text: "one" }], unstable: " two", language: "" },
    },
  ]);
  const said = final("one two", ["SPEAKER_00", "SPEAKER_01"]);
  const row = {
    key: 4,
    parts: [{ name: "Speaker 1", color: 0, text: "one" }, { name: "Speaker 2", color: 1, text: "two" }],
    unstable: "",
    language: "en",
  };
  const change = /** @type {const} */ ({ kind: "final", final: said, index: 0, hasNewText: true });
  assert.deepEqual(stepsOf(change, cast, 1), [{ kind: "show", row }]);
  assert.deepEqual(stepsOf({ kind: "revised", finals: [said] }, cast, 1), [{ kind: "revise", row }]);
  assert.deepEqual(stepsOf({ kind: "gone", id: 4 }, cast, 1), [{ kind: "drop", key: 4 }]);
});
