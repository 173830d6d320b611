import assert from "node:assert/strict";
import { test } from "node:test";

const QUANTUM = 128;
const FRAME = 32 * QUANTUM;

/** What a browser's audio thread offers. */
class AudioWorkletProcessor {
  /** @type {{ data: any, moved: Transferable[] }[]} */ posted = [];
  port = {
    onmessage: () => {},
    postMessage: (/** @type {any} */ data, /** @type {Transferable[]} */ moved = []) => {
      this.posted.push({ data, moved });
    },
  };
}

/** @typedef {AudioWorkletProcessor & { process(inputs: Float32Array[][]): boolean }} Capture */

/** @type {new (options: object) => Capture} */
let Capture;
Object.assign(globalThis, {
  AudioWorkletProcessor,
  sampleRate: 48_000,
  registerProcessor: (/** @type {string} */ name, /** @type {new (options: object) => Capture} */ type) => {
    assert.equal(name, "stream-capture");
    Capture = type;
  },
});
await import("../stream_browser/client/capture-worklet.js");

/** @param {number[]} values one quantum, filled up with the last value */
const quantum = (...values) => Float32Array.from({ length: QUANTUM }, (_, at) => values[at] ?? values.at(-1) ?? 0);

/** @param {Capture} capture */
const frames = (capture) => capture.posted.flatMap(({ data }) => (data ? [data.pcm] : []));

/** @param {Capture} capture */
const levels = (capture) => capture.posted.flatMap(({ data }) => (data ? [{ rms: data.rms, peak: data.peak }] : []));

test("samples become int16, rounded and clipped, in frames of 32 quanta that are moved and not copied", () => {
  const capture = new Capture({ channelCount: 1 });
  for (let at = 0; at < 64; at++) {
    assert.equal(capture.process([[quantum(0, 1, -1, 2, -2, NaN, 0.25, 100.4 / 32768, 100.6 / 32768)]]), true);
  }
  const [first, second] = frames(capture);
  assert.deepEqual([...new Int16Array(first, 0, 9)], [0, 32767, -32768, 32767, -32768, 0, 8192, 100, 101]);
  assert.equal(first.byteLength, 2 * FRAME);
  assert.notEqual(first, second);
  assert.deepEqual(capture.posted.find(({ data }) => data.pcm === first)?.moved, [first]);
});

test("channels are interleaved, and a channel that is not there is silent", () => {
  const capture = new Capture({ channelCount: 2 });
  for (let at = 0; at < 31; at++) capture.process([[quantum(0.5), quantum(-0.5)]]);
  capture.process([[quantum(0.25)]]);
  const [frame] = frames(capture).map((buffer) => new Int16Array(buffer));
  assert.deepEqual([...frame.subarray(0, 4)], [16384, -16384, 16384, -16384]);
  assert.deepEqual([...frame.subarray(-4)], [8192, 0, 8192, 0]);
});

test("while nothing plays there is silence, so that time goes on", () => {
  const capture = new Capture({ channelCount: 1 });
  for (let at = 0; at < 32; at++) capture.process([[]]);
  assert.deepEqual([...new Set(new Int16Array(frames(capture)[0]))], [0]);
});

test("the rest comes before the end, and nothing behind it", () => {
  const capture = new Capture({ channelCount: 1 });
  for (let at = 0; at < 35; at++) capture.process([[quantum(0.5)]]);
  capture.port.onmessage();
  assert.equal(capture.process([[quantum(0.5)]]), false);
  assert.deepEqual(frames(capture).map(({ byteLength }) => byteLength / 2), [FRAME, 3 * QUANTUM]);
  assert.equal(capture.posted.at(-1)?.data, null);
});

test("at a frame's very end there is no rest: an empty one would end the stream", () => {
  const capture = new Capture({ channelCount: 1 });
  for (let at = 0; at < 32; at++) capture.process([[quantum(0.5)]]);
  capture.port.onmessage();
  assert.deepEqual(frames(capture).map(({ byteLength }) => byteLength / 2), [FRAME]);
});

test("every frame has its level, of all channels and clipped", () => {
  const capture = new Capture({ channelCount: 2 });
  for (let at = 0; at < 96; at++) capture.process([[quantum(at === 40 ? -0.75 : 0.5), quantum(at < 64 ? 0 : 9)]]);
  const [first, second, third] = levels(capture);
  assert.deepEqual(first, { rms: Math.sqrt(0.125), peak: 0.5 });
  assert.equal(second.peak, 0.75);
  assert.ok(second.rms > first.rms && second.rms < 0.4);
  assert.ok(third.peak === 32767 / 32768 && third.rms < 1);
});
