import assert from "node:assert/strict";
import { test } from "node:test";

import { CaptionState } from "../stream_browser/captions/caption-state.js";

/** @type {(segment_id: number, offset_ms: number, channel?: number) => object} */
const start = (segment_id, offset_ms, channel = 0) => ({ type: "speech_start", segment_id, offset_ms, channel });
/** @type {(segment_id: number, text: string, stable_chars: number, offset_ms?: number) => object} */
const partial = (segment_id, text, stable_chars, offset_ms = 0) => ({
  type: "partial", segment_id, text, stable_chars, offset_ms, duration_ms: 500, channel: 0, language: "en",
});
/** @type {(segment_id: number, text: string, offset_ms: number, duration_ms?: number, more?: object) => object} */
const final = (segment_id, text, offset_ms, duration_ms = 1000, more = {}) => ({
  type: "final_segment", segment_id, text, offset_ms, duration_ms, channel: 0, language: "en", confidence: 0.9, ...more,
});

/** What came of an event, whichever kind of change. @type {(state: CaptionState, event: object) => any} */
const receive = (state, event) => state.receive(event);

/** @param {CaptionState} state */
const texts = (state) => state.finals.map(({ text }) => text);

test("a partial is split where it is stable, counted in code points", () => {
  const state = new CaptionState();
  state.begin(1);
  receive(state, start(0, 100));
  const change = receive(state, partial(0, "😀 well then", 6));
  assert.equal(change.kind, "live");
  assert.deepEqual([change.live.stable, change.live.unstable, change.hasNewText], ["😀 well", " then", true]);
});

test("a partial that changes nothing is not shown; one that only becomes more stable has no new text", () => {
  const state = new CaptionState();
  state.begin(1);
  receive(state, partial(0, "one two", 3));
  assert.equal(receive(state, partial(0, "one two", 3)), null);
  assert.equal(receive(state, partial(0, "one two", 7)).hasNewText, false);
});

test("a final takes the place of its segment", () => {
  const state = new CaptionState();
  state.begin(1);
  receive(state, start(0, 100));
  receive(state, partial(0, "one tow", 3));
  const words = [{ word: "one", start_ms: 100, end_ms: 400, confidence: 1 }];
  const change = receive(state, final(0, "One two.", 100, 900, { words, speaker: "A" }));
  assert.equal(change.kind, "final");
  assert.deepEqual(change.final, {
    id: 0, text: "One two.", start_ms: 100, end_ms: 1000, channel: 0, channels: 1, language: "en", confidence: 0.9,
    words, speaker: "A",
  });
  assert.deepEqual(texts(state), ["One two."]);
});

test("an empty final takes away what stood there", () => {
  const state = new CaptionState();
  state.begin(1);
  receive(state, partial(3, "um", 0));
  assert.deepEqual(receive(state, final(3, " ", 0)), { kind: "gone", id: 3 });
  assert.deepEqual(texts(state), []);
});

test("finals stand in order of time, whichever channel comes first", () => {
  const state = new CaptionState();
  state.begin(2);
  receive(state, final(1, "second", 2000, 500, { channel: 1 }));
  const change = receive(state, final(0, "first", 1000));
  assert.equal(change.index, 0);
  assert.deepEqual(texts(state), ["first", "second"]);
});

test("a second stream goes on behind the first, in numbers and in times", () => {
  const state = new CaptionState();
  state.begin(1);
  receive(state, final(0, "one", 400, 1200));
  state.begin(1);
  assert.equal(state.startMs, 2000);
  const words = [{ word: "two", start_ms: 100, end_ms: 300 }];
  receive(state, final(0, "two", 100, 300, { words }));
  const [, second] = state.finals;
  assert.deepEqual([second.id, second.start_ms, second.end_ms, second.words[0].start_ms], [1, 2100, 2400, 2100]);
});

test("when a new session takes over, what was open goes and comes again", () => {
  const state = new CaptionState();
  state.begin(1);
  receive(state, partial(0, "half a sen", 4));
  assert.deepEqual(state.restart(), [{ kind: "gone", id: 0 }]);
  receive(state, final(1, "half a sentence", 0));
  assert.deepEqual(texts(state), ["half a sentence"]);
});

test("when a stream breaks for good, what stands there is kept as unfinished", () => {
  const state = new CaptionState();
  state.begin(1);
  receive(state, start(0, 0));
  receive(state, partial(1, "half a sen", 4, 700));
  const [gone, kept] = /** @type {any[]} */ (state.abandon());
  assert.deepEqual(gone, { kind: "gone", id: 0 });
  assert.equal(kept.kind, "final");
  assert.equal(kept.final.isUnfinished, true);
  assert.deepEqual(texts(state), ["half a sen"]);
  assert.deepEqual(state.abandon(), []);
});

test("speech is from speech_start to speech_end, on any channel", () => {
  const state = new CaptionState();
  state.begin(2);
  receive(state, start(0, 0));
  receive(state, start(1, 0, 1));
  receive(state, { type: "speech_end", segment_id: 0, offset_ms: 500, channel: 0 });
  assert.equal(state.isSpeech, true);
  receive(state, { type: "speech_end", segment_id: 1, offset_ms: 500, channel: 1 });
  assert.equal(state.isSpeech, false);
});

test("a container says only itself that it has two channels", () => {
  const state = new CaptionState();
  state.begin(1);
  receive(state, final(0, "right", 0, 500, { channel: 1 }));
  assert.equal(state.finals[0].channels, 2);
});

test("finals of an earlier visit stand before those of the next stream", () => {
  const state = new CaptionState();
  const [kept] = (() => {
    const before = new CaptionState();
    before.begin(1);
    receive(before, final(4, "before", 0, 1500));
    return before.finals;
  })();
  state.restore([kept]);
  state.begin(1);
  receive(state, final(0, "after", 0));
  assert.deepEqual(state.finals.map(({ id, start_ms }) => [id, start_ms]), [[4, 0], [5, 2000]]);
});

test("after a clear an open stream keeps its times, and the next one begins at zero", () => {
  const state = new CaptionState();
  state.begin(1);
  receive(state, final(0, "gone", 0, 5000));
  state.clear();
  receive(state, final(1, "kept", 6000));
  assert.deepEqual(state.finals.map(({ start_ms }) => start_ms), [6000]);
  state.clear();
  state.begin(1);
  assert.equal(state.startMs, 0);
});

/** @param {string} text @param {string[]} speakers of its words */
const spoken = (text, speakers) => ({
  speaker: speakers[0],
  words: text.split(" ").map((word, at) => (
    { word, start_ms: at * 100, end_ms: at * 100 + 90, speaker: speakers[at] }
  )),
});

test("other speakers take the place of those that were told, in finals of this stream only", () => {
  const state = new CaptionState();
  state.begin(1);
  receive(state, final(0, "hello there", 0, 900, spoken("hello there", ["SPEAKER_00", "SPEAKER_00"])));
  receive(state, final(1, "good day", 2000, 900, spoken("good day", ["SPEAKER_00", "SPEAKER_00"])));
  const [first, before] = state.finals;
  const change = receive(state, {
    type: "speakers_revised",
    segments: [
      { segment_id: 1, speaker: "SPEAKER_01", words: ["SPEAKER_01", "SPEAKER_00"] },
      { segment_id: 7, speaker: "SPEAKER_01" },
    ],
  });
  assert.equal(change.kind, "revised");
  assert.deepEqual(change.finals, [state.finals[1]]);
  const { speaker, words, text } = state.finals[1];
  assert.deepEqual([text, speaker], ["good day", "SPEAKER_01"]);
  assert.deepEqual(words.map((word) => word.speaker), ["SPEAKER_01", "SPEAKER_00"]);
  assert.equal(words[0].start_ms, 0);
  assert.equal(state.finals[0], first);
  assert.equal(before.speaker, "SPEAKER_00", "who holds the old one keeps it");
  const unknown = { type: "speakers_revised", segments: [{ segment_id: 9, speaker: "SPEAKER_01" }] };
  assert.equal(receive(state, unknown), null);
});

test("a revision of words that were not sent changes the final alone", () => {
  const state = new CaptionState();
  state.begin(1);
  receive(state, final(0, "hello there", 0, 900, { speaker: "SPEAKER_00" }));
  receive(state, { type: "speakers_revised", segments: [{ segment_id: 0, speaker: "SPEAKER_01" }] });
  assert.deepEqual([state.finals[0].speaker, state.finals[0].words], ["SPEAKER_01", []]);
});

test("speakers of a second stream are others than those of the first, also after a reload", () => {
  const state = new CaptionState();
  state.begin(1);
  receive(state, final(0, "one two", 0, 900, spoken("one two", ["SPEAKER_00", "SPEAKER_01"])));
  const reloaded = new CaptionState();
  reloaded.restore(state.finals);
  for (const later of [state, reloaded]) {
    later.begin(1);
    receive(later, final(0, "three", 0, 900, spoken("three", ["SPEAKER_00"])));
    receive(later, final(1, "four", 1000, 900, { speaker: "Anna" }));
    assert.deepEqual(later.finals.map(({ speaker }) => speaker), ["SPEAKER_00", "SPEAKER_02", "Anna"]);
    assert.equal(later.finals[1].words[0].speaker, "SPEAKER_02");
    receive(later, { type: "speakers_revised", segments: [{ segment_id: 0, speaker: "SPEAKER_01" }] });
    assert.equal(later.finals[1].speaker, "SPEAKER_03");
  }
  state.clear();
  state.begin(1);
  receive(state, final(0, "five", 0, 900, { speaker: "SPEAKER_00" }));
  assert.equal(state.finals[0].speaker, "SPEAKER_00", "there is nobody else");
});

test("where there are channels, the label of a second stream is still that of the channel", () => {
  const state = new CaptionState();
  for (let stream = 0; stream < 2; stream++) {
    state.begin(2);
    receive(state, final(0, "left", 0, 900, { speaker: "SPEAKER_00" }));
    receive(state, final(1, "right", 0, 900, { speaker: "SPEAKER_01", channel: 1 }));
  }
  const labels = ["SPEAKER_00", "SPEAKER_01"];
  assert.deepEqual(state.finals.map(({ speaker }) => speaker), [...labels, ...labels]);
});

test("events that are not shown change nothing", () => {
  const state = new CaptionState();
  for (const type of ["flushed", "configured", "end_of_transcript", "done", "something_new"]) {
    assert.equal(receive(state, { type }), null);
  }
});
