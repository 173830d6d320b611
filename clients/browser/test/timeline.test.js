// One stream over several sessions: where the next one begins, and how its events are numbered on.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DOUBT_MS, LEAD_MS, TAIL_MS, Timeline } from "../stream_browser/client/timeline.js";

/** @typedef {import("../stream_browser/client/index.js").SessionEvent} SessionEvent */

const RATE = 16_000;

/** @param {number} ms */
const sample = (ms) => (ms * RATE) / 1000;

/** @param {number} seq @param {number} segment @param {number} ms @returns {any} */
const start = (seq, segment, ms, channel = 0) => ({
  type: "speech_start",
  seq,
  segment_id: segment,
  offset_ms: ms,
  channel,
});

/** @param {number} seq @param {number} segment @param {number} ms @returns {any} */
const end = (seq, segment, ms, channel = 0) => ({ ...start(seq, segment, ms, channel), type: "speech_end" });

/** @param {number} seq @param {number} segment @param {number} ms @returns {any} */
const partial = (seq, segment, ms, channel = 0, duration = 100, stable = 0) => ({
  ...start(seq, segment, ms, channel),
  type: "partial",
  text: "te",
  stable_chars: stable,
  duration_ms: duration,
});

/** @param {number} seq @param {number} segment @param {number} begin @param {number} end @returns {any} */
const final = (seq, segment, begin, end, text = "text", { silence = 800, channel = 0 } = {}) => ({
  ...start(seq, segment, begin, channel),
  type: "final_segment",
  text,
  duration_ms: end - begin,
  silence_duration_ms: silence,
  words: [word(text, begin, end)],
});

/** @param {string} text @param {number} begin @param {number} end */
function word(text, begin, end) {
  return { word: text, start_ms: begin, end_ms: end, confidence: 0.9 };
}

/** @param {SessionEvent[]} events @param {number} receivedMs */
function timeline(events, receivedMs) {
  const made = new Timeline(RATE);
  for (const event of events) assert.deepEqual(made.receive(event), [event], "the first session is the stream");
  made.receiveAck(sample(receivedMs));
  return made;
}

/** In milliseconds. @param {Timeline} made */
function restart(made, first = 0) {
  const position = Math.max(sample(first), made.neededFrom);
  made.restart(position, 10);
  return (position * 1000) / RATE;
}

test("what was seen is not given again", () => {
  const made = timeline([start(1, 0, 500), partial(2, 0, 500)], 2000);
  assert.deepEqual(made.receive(partial(2, 0, 500)), []);
  assert.equal(made.lastSeq, 2);
  /** @type {SessionEvent} */
  const warning = { type: "warning", code: "DRAINING", message: "soon" };
  assert.deepEqual(made.receive(warning), [warning]);
});

test("what is of an unknown kind, or has no number, is passed over", () => {
  const made = new Timeline(RATE);
  assert.deepEqual(made.receive(/** @type {any} */ ({ type: "mood", seq: 1 })), []);
  assert.deepEqual(made.receive(/** @type {any} */ ({ type: "mood" })), []);
  assert.deepEqual(made.receive({ ...start(1, 0, 0), seq: undefined }), []);
  assert.deepEqual(made.receive(start(2, 0, 0)), [start(1, 0, 0)]);
});

test("an open segment is heard again with what comes before it", () => {
  assert.equal(restart(timeline([start(1, 0, 5000)], 9000)), 5000 - LEAD_MS);
  assert.equal(restart(timeline([start(1, 0, 500)], 9000)), 0);
});

test("what is final is not heard again", () => {
  const said = [start(1, 0, 1000), final(2, 0, 1000, 4000)];
  assert.equal(restart(timeline([...said, start(3, 1, 4500)], 9000)), 4000 + TAIL_MS);
  const cut = [start(1, 0, 1000), final(2, 0, 1000, 4000, "text", { silence: 0 })];
  assert.equal(restart(timeline([...cut, start(3, 1, 4000)], 9000)), 4000, "speech that went on");
  const brief = [start(1, 0, 1000), final(2, 0, 1000, 4000, "text", { silence: 200 })];
  assert.equal(restart(timeline(brief, 4200)), 4100, "speech may begin soon after a short pause");
});

test("in silence a session begins with the audio of which nothing may have been said yet", () => {
  const said = [start(1, 0, 1000), final(2, 0, 1000, 4000)];
  assert.equal(restart(timeline(said, 20_000)), 20_000 - DOUBT_MS);
  assert.equal(restart(timeline(said, 4100)), 4100, "no more than was received is skipped");
});

test("audio is kept as long as a session could ask for it", () => {
  const made = timeline([start(1, 0, 10_000)], 30_000);
  assert.equal(made.neededFrom, sample(10_000 - LEAD_MS));
  made.receive(final(2, 0, 10_000, 29_000));
  assert.equal(made.neededFrom, sample(29_000 + TAIL_MS));
  made.receiveAck(sample(60_000));
  assert.equal(made.neededFrom, sample(60_000 - DOUBT_MS));
  assert.equal(restart(made, 58_000), 58_000, "what there is no more of cannot be sent");
});

test("numbers, times and the end go on", () => {
  const made = timeline([start(1, 0, 1000), final(2, 0, 1000, 4000, "one"), start(3, 1, 9000)], 11_000);
  assert.equal(restart(made), 8000);
  assert.equal(made.lastSeq, 0);
  assert.equal(made.position(sample(500)), sample(8500));
  assert.deepEqual(made.receive(start(1, 0, 1010)), [start(4, 2, 9010)]);
  assert.deepEqual(made.receive({ type: "flushed", seq: 2, id: 7 }), [{ type: "flushed", seq: 5, id: 7 }]);
  assert.deepEqual(made.receive(final(3, 0, 1010, 3000, "two")), [final(6, 2, 9010, 11_000, "two")]);
  assert.deepEqual(made.receive({ type: "end_of_transcript", seq: 4, text: "two" }), [
    { type: "end_of_transcript", seq: 7, text: "one two" },
  ]);
  /** @type {any} */
  const done = { type: "done", seq: 5, total_segments: 1, total_audio_duration_sec: 4, connection_duration_sec: 3 };
  assert.deepEqual(made.receive(done), [
    { ...done, seq: 8, total_segments: 2, total_audio_duration_sec: 12, connection_duration_sec: 13 },
  ]);
});

test("positions in milliseconds, of a server that counts samples of 48 kHz", () => {
  const made = new Timeline(1000, 48_000);
  made.receive(start(1, 0, 4000));
  made.receiveAck(48_000 * 6);
  assert.equal(made.neededFrom, 3000);
  made.restart(2990, 1); // where a packet begins
  assert.equal(made.position(48_000), 3990);
  assert.deepEqual(made.receive(start(1, 0, 1010)), [start(2, 1, 4000)]);
});

for (const begin of [0, 500]) {
  test(`another channel that is final already is left out, from ${begin} ms on`, () => {
    const events = [start(1, 0, 1000), start(2, 1, 3000, 1), final(3, 1, 3000, 5000, "once", { channel: 1 })];
    const made = timeline(events, 7000);
    assert.equal(restart(made, begin), begin, "channel 0 has been speaking since the first second");
    assert.deepEqual(made.receive(start(1, 0, 1000 - begin)), [start(4, 2, 1000)]);
    assert.deepEqual(made.receive(start(2, 1, 3010 - begin, 1)), []);
    assert.deepEqual(made.receive(partial(3, 1, 3010 - begin, 1)), []);
    assert.deepEqual(made.receive(end(4, 1, 5010 - begin, 1)), []);
    assert.deepEqual(made.receive(final(5, 1, 3010 - begin, 5010 - begin, "once", { channel: 1 })), []);
    assert.deepEqual(made.receive(start(6, 2, 6000 - begin, 1)), [start(5, 3, 6000, 1)], "numbers without a gap");
    assert.deepEqual(made.receive({ type: "end_of_transcript", seq: 7, text: "of this session" }), [
      { type: "end_of_transcript", seq: 6, text: "once" },
    ]);
  });
}

describe("speakers", () => {
  /** @param {any} event @param {string[]} speakers of its words, and the first of it @returns {any} */
  const said = (event, speakers) => ({
    ...event,
    speaker: speakers[0],
    words: event.words.map((/** @type {object} */ one, /** @type {number} */ at) => (
      { ...one, speaker: speakers[at] }
    )),
  });

  /** @param {number} seq @param {number} segment @param {string} speaker @param {string[]} [words] @returns {any} */
  const revised = (seq, segment, speaker, words) => ({
    type: "speakers_revised", seq, segments: [{ segment_id: segment, speaker, ...(words && { words }) }],
  });

  /** What is final on both sides of a restart. @param {Timeline} made */
  const overRestart = (made, channel = 0) => {
    const about = { channel };
    const events = [final(1, 0, 500, 3000, "one", about), final(2, 1, 4000, 6000, "two", about)];
    for (const [at, event] of events.entries()) made.receive(said(event, [`SPEAKER_0${channel || at}`]));
    made.receiveAck(sample(8000));
    return restart(made);
  };

  test("of another session come behind those that there were", () => {
    const made = new Timeline(RATE);
    const begin = overRestart(made);
    const next = said(final(1, 0, 2000, 4000, "three"), ["SPEAKER_00"]);
    assert.deepEqual(made.receive(next), [
      said(final(3, 2, begin + 2000, begin + 4000, "three"), ["SPEAKER_02"]),
    ]);
    assert.deepEqual(made.receive(revised(2, 0, "SPEAKER_01", ["SPEAKER_01"])), [
      revised(4, 2, "SPEAKER_03", ["SPEAKER_03"]),
    ]);
    const named = said(final(3, 1, 5000, 6000, "four"), ["Anna"]);
    assert.equal(/** @type {any} */ (made.receive(named)[0]).speaker, "Anna");
  });

  test("are revised in the present session alone", () => {
    const made = new Timeline(RATE);
    overRestart(made);
    assert.deepEqual(made.receive(revised(1, 1, "SPEAKER_00")), [], "its segment 1 has not been said yet");
    assert.deepEqual(made.receive(start(2, 0, 2000)), [start(3, 2, 6000 + TAIL_MS + 2000)], "numbers without a gap");
  });

  test("in the first session stay as they are", () => {
    const made = timeline([said(final(1, 0, 500, 3000), ["SPEAKER_01"])], 4000);
    for (const event of [revised(2, 0, "SPEAKER_00", ["SPEAKER_00"]), revised(3, 0, "SPEAKER_01")]) {
      assert.deepEqual(made.receive(event), [event]);
    }
  });

  for (const made of [new Timeline(RATE, RATE, 2), new Timeline(RATE)]) {
    test("that are channels are the same in every session", () => {
      overRestart(made, 1);
      const next = said(final(1, 0, 5000, 6000, "three", { channel: 1 }), ["SPEAKER_01"]);
      assert.equal(/** @type {any} */ (made.receive(next)[0]).speaker, "SPEAKER_01");
    });
  }
});

describe("speech that goes on behind what is final", () => {
  const CUT = [start(1, 0, 500), final(2, 0, 500, 3000, "other"), start(3, 1, 12_000, 1)];
  const HALF = final(4, 1, 12_000, 20_000, "first half", { silence: 0, channel: 1 });

  for (const more of [[], [start(5, 2, 20_000, 1)]]) {
    test(`is heard from there on, ${more.length === 0 ? "ended in mid-speech" : "gone after a cut"}`, () => {
      const made = timeline([...CUT, HALF, ...more], 20_000);
      const begin = restart(made);
      assert.equal(begin, 17_000, "because channel 0 is silent");
      const [seq, segment] = [4 + more.length, 2 + more.length];
      assert.deepEqual(made.receive(start(1, 0, 100, 1)), []);
      assert.deepEqual(made.receive(partial(2, 0, 100, 1, 2900)), [], "it is final that far");
      assert.deepEqual(made.receive(partial(3, 0, 100, 1, 3000, 2)), [
        start(seq + 1, segment, 20_000, 1),
        partial(seq + 2, segment, begin + 100, 1, 3000, 0),
      ]);
      assert.deepEqual(made.receive(end(4, 0, 15_000, 1)), [end(seq + 3, segment, begin + 15_000, 1)]);
      const words = [word("half", 100, 3000), word("the", 2900, 3100), word("rest", 4000, 15_000)];
      const whole = { ...final(5, 0, 100, 15_000, "half the rest", { channel: 1 }), words };
      assert.deepEqual(made.receive(whole), [
        {
          ...whole,
          ...{ seq: seq + 4, segment_id: segment, text: "the rest", offset_ms: 19_900, duration_ms: 12_100 },
          words: [word("the", 19_900, 20_100), word("rest", 21_000, 32_000)],
        },
      ]);
    });
  }

  test("is given at its end and whole, without partials and words", () => {
    const made = timeline([...CUT, HALF], 20_000);
    const begin = restart(made);
    assert.deepEqual(made.receive(start(1, 0, 100, 1)), []);
    assert.deepEqual(made.receive(end(2, 0, 15_000, 1)), [start(5, 2, 20_000, 1), end(6, 2, begin + 15_000, 1)]);
    const { words: _, ...whole } = final(3, 0, 100, 15_000, "half the rest", { channel: 1 });
    assert.deepEqual(made.receive(whole), [{ ...whole, seq: 7, segment_id: 2, offset_ms: begin + 100 }]);
  });

  test("is kept for the session after next while it is not known whether it goes on", () => {
    const made = timeline([...CUT, HALF], 20_000);
    restart(made);
    made.receive(start(1, 0, 100, 1));
    made.receiveAck(sample(13_000));
    assert.equal(made.neededFrom, sample(20_000));
    assert.equal(restart(made), 20_000);
  });
});
