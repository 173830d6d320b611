import assert from "node:assert/strict";
import { test } from "node:test";

import { AudioRing } from "../stream_browser/captions/audio-ring.js";
import { ClipStore } from "../stream_browser/captions/clip-store.js";
import { ConnectionState } from "../stream_browser/captions/connection-state.js";
import { Draft } from "../stream_browser/captions/draft.js";
import { languageName, namedLanguages } from "../stream_browser/shared/language-name.js";
import { MovingMedian, SpokenClock } from "../stream_browser/captions/latency.js";
import { readParameters } from "../stream_browser/captions/parameter.js";
import { problemOf, warningOf } from "../stream_browser/captions/problem.js";
import { findAll } from "../stream_browser/shared/search.js";
import { DEFAULTS, Settings, nextSize } from "../stream_browser/captions/setting.js";
import { SHORTCUTS, actionOf } from "../stream_browser/captions/shortcut.js";

/** A storage that is full at so many entries. @param {number} [most] @returns {Storage} */
function fakeStorage(most = Infinity) {
  const items = new Map();
  return {
    get length() {
      return items.size;
    },
    key: (index) => [...items.keys()][index] ?? null,
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => {
      if (items.size >= most && !items.has(key)) throw new Error("full");
      items.set(key, value);
    },
    removeItem: (key) => void items.delete(key),
    clear: () => items.clear(),
  };
}

test("search: whatever case and accents, every match, at its place in the text", () => {
  assert.deepEqual(findAll("Über über uber", "UBER"), [[0, 4], [5, 9], [10, 14]]);
  assert.deepEqual(findAll("e\u0301te\u0301 été", "ete"), [[0, 5], [6, 9]]);
  assert.deepEqual(findAll("aaaa", "aa"), [[0, 2], [2, 4]]);
  assert.deepEqual(findAll("😀 a.b", "a.b"), [[3, 6]]);
  assert.deepEqual(findAll("anything", "  "), []);
  assert.deepEqual(findAll("two\u00a0words", "two words"), [[0, 9]]);
});

test("parameters: an overlay with everything", () => {
  const parameters = readParameters("?overlay&lines=3&size=64&language=de&model=m&diarize&source=display", "#key=ss_1");
  assert.deepEqual(parameters, {
    overlay: "own", lines: 3, size: 64, diarize: true, source: "display", language: "de", model: "m",
    token: null, key: "ss_1", problems: [],
  });
  assert.equal(readParameters("?overlay=mirror").overlay, "mirror");
  assert.deepEqual([readParameters("").overlay, readParameters("").diarize], [null, false]);
});

test("parameters: what is wrong is told, and the usual taken", () => {
  const { lines, size, source, overlay, problems } = readParameters("?overlay=yes&lines=0&size=big&source=radio");
  assert.deepEqual([lines, size, source, overlay], [2, 48, null, "own"]);
  assert.equal(problems.length, 4);
  assert.match(problems.join(" "), /lines is a number from 1 to 8, not "0"/);
});

test("latency: from when the audio was spoken, however late some pieces come", () => {
  const clock = new SpokenClock();
  assert.equal(clock.since(0, 0), null);
  clock.heard(100, 1100); // the audio's beginning lies at 1000
  clock.heard(200, 1290); // late by 90
  assert.equal(clock.since(150, 1500), 350);
  assert.equal(clock.since(900, 1500), 0, "never in the future");
});

test("latency: an offset that drifts is forgotten", () => {
  const clock = new SpokenClock();
  clock.heard(100, 1100);
  for (let piece = 0; piece < 200; piece++) clock.heard(piece * 10, piece * 10 + 1200);
  assert.equal(clock.since(0, 1500), 300);
});

test("the median is that of the last values", () => {
  const median = new MovingMedian();
  assert.equal(median.add(5), 5);
  for (let count = 0; count < 15; count++) median.add(100);
  assert.equal(median.add(9000), 100);
});

test("the ring gives one channel between two moments, also across its end", () => {
  const ring = new AudioRing(100, 2); // 120 s are 12,000 frames
  for (let start = 0; start < 13_300; start += 700) {
    const frames = Array.from({ length: 700 }, (_, index) => [start + index, -(start + index)]);
    ring.write(Int16Array.from(frames.flat()));
  }
  assert.equal(ring.positionMs, 133_000);
  assert.deepEqual([...(ring.cut(119_980, 120_020, 1) ?? [])], [-11_998, -11_999, -12_000, -12_001]);
  assert.equal(ring.cut(12_990, 13_100, 0), null, "overwritten");
  assert.equal(ring.cut(134_000, 135_000, 0), null, "not heard yet");
  assert.equal(ring.cut(132_990, 140_000, 0)?.length, 1, "as far as it was heard");
});

test("the ring takes a piece that is longer than itself", () => {
  const ring = new AudioRing(10, 1);
  ring.write(Int16Array.from({ length: 1500 }, (_, index) => index));
  assert.deepEqual([...(ring.cut(149_700, 150_000, 0) ?? [])], [1497, 1498, 1499]);
});

test("clips are WAV files, and the oldest go when there are too many seconds", async () => {
  /** @type {number[]} */
  const gone = [];
  const store = new ClipStore({ mostSec: 2.5, onDrop: (id) => gone.push(id) });
  for (const id of [7, 8, 9]) store.add(id, new Int16Array(8000).fill(id), 8000);
  assert.deepEqual(gone, [7]);
  assert.equal(store.get(7), null);
  const bytes = new DataView((await store.get(8)?.arrayBuffer()) ?? new ArrayBuffer(0));
  assert.equal(bytes.byteLength, 44 + 16_000);
  assert.equal(bytes.getUint32(24, true), 8000);
  assert.equal(bytes.getUint32(40, true), 16_000);
  assert.equal(bytes.getInt16(44, true), 8);
  store.clear();
  assert.equal(store.get(9), null);
});

test("clips are bounded in bytes, too", () => {
  const store = new ClipStore({ mostBytes: 2100 });
  for (const id of [1, 2]) store.add(id, new Int16Array(1000), 8000);
  assert.deepEqual([store.get(1), store.get(2)?.size], [null, 2044]);
});

test("connection: a loss is told with its age, attempts and what waits; then how it went on", () => {
  const connection = new ConnectionState();
  connection.receive({ state: "open" }, 0);
  assert.deepEqual(connection.words(0), { chip: "Connected", line: "", counter: "" });
  connection.receive({ state: "lost", attempt: 1, bufferedSec: 0.5 }, 10_000);
  connection.receive({ state: "lost", attempt: 3, bufferedSec: 4 }, 13_000);
  const words = connection.words(15_000);
  assert.equal(words.chip, "Reconnecting");
  assert.equal(words.counter, "Since 5 s, attempt 3; 6 s of audio wait.");
  connection.receive({ state: "resumed" }, 16_000);
  assert.equal(connection.name, "open");
  assert.match(connection.words(16_000).line, /after 6 s. Nothing was lost/);
  connection.forget();
  assert.equal(connection.words(16_000).line, "");
});

test("connection: a new session is not called a resumed one", () => {
  const connection = new ConnectionState();
  connection.receive({ state: "lost" }, 0);
  connection.receive({ state: "restarted" }, 2000);
  assert.match(connection.words(2000).line, /new session/);
  connection.receive({ state: "closed" }, 3000);
  assert.equal(connection.name, "open", "how a run ends, the run says");
});

test("problems: words for the protocol's errors, the capture's own, and anything else", () => {
  assert.equal(problemOf({ code: "CAPACITY_FULL", message: "full", retryAfter: 4.2 }).text.endsWith("in 5 s."), true);
  const denied = problemOf({ code: "PERMISSION_DENIED", message: "Allow it, then start again." });
  assert.deepEqual([denied.text, denied.action], ["Allow it, then start again.", "retry"]);
  assert.equal(problemOf(new TypeError("odd")).text, "Odd.");
  assert.ok(problemOf(undefined).title);
  const busy = { code: "CAPACITY_FULL", message: "as many voices as it can; without 'diarize' none have to be", retryAfter: 2 };
  assert.match(problemOf(busy).text, /^With “Tell speakers apart” switched off .* Try again in 2 s\.$/);
  const reason = "field 'diarize': diarization is switched off on this server (diarizer=off)";
  const refused = problemOf({ code: "INVALID_INIT", message: reason });
  assert.match(refused.text, /^Diarization is switched off on this server \(diarizer=off\)\. Switch .* off/);
  assert.equal(refused.action, "settings");
  assert.equal(problemOf({ code: "INVALID_INIT", message: "field 'vad': no" }).action, "retry");
});

test("warnings end when the server says so", () => {
  assert.notEqual(warningOf({ code: "DEGRADED", message: "", level: 0.4 }), "");
  assert.equal(warningOf({ code: "DEGRADED", message: "", level: 0 }), "");
  assert.notEqual(warningOf({ code: "BACKPRESSURE", message: "", level: 0.5 }), "");
  assert.equal(warningOf({ code: "BACKPRESSURE", message: "", level: 0.1 }), "");
  assert.match(warningOf({ code: "DRAINING", message: "", deadline_sec: 9.5 }), /10 s/);
  assert.equal(warningOf({ code: "NEWER", message: "something new" }), "Something new.");
});

test("the draft survives in order, forgets the oldest when it is full, and can be cleared", () => {
  const storage = fakeStorage(4);
  const draft = new Draft(storage);
  for (let id = 0; id < 5; id++) draft.add(/** @type {any} */ ({ id, text: `t${id}` }));
  assert.deepEqual(new Draft(storage).read().map(({ id }) => id), [1, 2, 3, 4]);
  draft.clear();
  storage.setItem("other", "stays");
  assert.deepEqual([draft.read(), storage.length], [[], 1]);
  assert.deepEqual(new Draft(null).read(), []);
});

test("the draft has the names of speakers, as long as it has the finals", () => {
  const storage = fakeStorage();
  new Draft(storage).names = [["SPEAKER_00", "Anna"]];
  assert.deepEqual(new Draft(storage).names, [["SPEAKER_00", "Anna"]]);
  storage.setItem("stream-server.names", '{"SPEAKER_00": 3, "SPEAKER_01": "Tom"}');
  assert.deepEqual(new Draft(storage).names, [["SPEAKER_01", "Tom"]]);
  storage.setItem("stream-server.names", "null");
  assert.deepEqual(new Draft(storage).names, []);
  new Draft(storage).clear();
  assert.deepEqual([new Draft(storage).names, storage.length, new Draft(null).names], [[], 0, []]);
  const full = new Draft(fakeStorage(0));
  full.names = [["SPEAKER_00", "Anna"]];
  assert.deepEqual(full.names, []);
});

test("settings are remembered, and what has another type counts as not chosen", () => {
  const storage = fakeStorage();
  new Settings(storage).change({ language: "de", source: "display", captionSize: 1.5 });
  assert.deepEqual(new Settings(storage).values, { ...DEFAULTS, language: "de", source: "display", captionSize: 1.5 });
  storage.setItem("stream-server.captions", '{"language": 3, "opus": true, "captionSize": 17, "source": "file"}');
  assert.deepEqual(new Settings(storage).values, { ...DEFAULTS, opus: true });
  storage.setItem("stream-server.captions", "null");
  assert.deepEqual(new Settings(storage).values, DEFAULTS);
  assert.deepEqual(new Settings(null).values, DEFAULTS);
});

test("sizes end at both ends of the scale", () => {
  assert.deepEqual([nextSize(1, 1), nextSize(1, -1), nextSize(0.75, -1), nextSize(2.25, 1)], [1.25, 0.875, 0.75, 2.25]);
});

test("shortcuts: none while typing, none with a browser's key, none twice", () => {
  const press = (/** @type {string} */ key, more = {}) =>
    actionOf({ key, ctrlKey: false, metaKey: false, altKey: false, repeat: false, ...more }, { isTyping: false });
  assert.equal(press("s"), "toggle");
  assert.equal(press("S"), "toggle");
  assert.equal(press("?"), "help");
  assert.equal(press("x"), null);
  assert.equal(press("s", { ctrlKey: true }), null);
  assert.equal(press("s", { repeat: true }), null);
  const typed = { key: "s", ctrlKey: false, metaKey: false, altKey: false, repeat: false };
  assert.equal(actionOf(typed, { isTyping: true }), null);
  const keys = SHORTCUTS.flatMap((shortcut) => shortcut.keys);
  assert.equal(new Set(keys).size, keys.length);
});

test("languages have their own names, in the order of them", () => {
  assert.equal(languageName("de"), "Deutsch");
  assert.equal(languageName("not a code"), "not a code");
  assert.deepEqual(
    namedLanguages(["de", "en", "auto", "de"]).map(({ code }) => code),
    ["de", "en"],
  );
});
