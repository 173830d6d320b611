// What is sent again after a break, to the byte.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Backlog, FRAME_BYTES } from "../stream_browser/client/backlog.js";

/** @param {Backlog} backlog */
function drain(backlog) {
  const frames = [];
  for (let frame = backlog.nextFrame(); frame !== undefined; frame = backlog.nextFrame()) {
    frames.push(typeof frame === "string" ? frame : [...frame]);
  }
  return frames;
}

/** @param {(number[] | string)[]} frames */
function filled(frames, sampleBytes = 2, maxBytes = 1000) {
  const backlog = new Backlog(sampleBytes, maxBytes);
  for (const frame of frames) backlog.append(typeof frame === "string" ? frame : Uint8Array.from(frame));
  return backlog;
}

test("frames go out in order, and again from the sample that is asked for", () => {
  const backlog = filled([[1, 2, 3], "flush", [4, 5, 6], "end"]);
  assert.deepEqual([backlog.unsentBytes, backlog.nextSample, backlog.endSample], [6, 0, 3]);
  assert.deepEqual(drain(backlog), [[1, 2, 3], "flush", [4, 5, 6], "end"]);
  assert.equal(backlog.unsentBytes, 0);
  assert.equal(backlog.rewind(2), 2);
  assert.deepEqual([backlog.unsentBytes, backlog.nextSample], [2, 2]);
  assert.deepEqual(drain(backlog), [[5, 6], "end"]);
  assert.equal(backlog.rewind(1), 1);
  assert.deepEqual(drain(backlog), [[3], "flush", [4], [5, 6], "end"]);
  assert.equal(backlog.rewind(3), 3);
  assert.deepEqual(drain(backlog), ["end"], "what stands at the very position may not have arrived");
});

test("what was not sent yet stays behind what is sent again", () => {
  const backlog = filled([[1, 2], [3, 4]]);
  backlog.nextFrame();
  backlog.append("flush");
  assert.equal(backlog.rewind(0), 0);
  assert.deepEqual(drain(backlog), [[1, 2], [3, 4], "flush"]);
});

test("a position that is not here changes nothing", () => {
  const backlog = filled([[1, 2], [3, 4]]);
  backlog.nextFrame();
  assert.equal(backlog.rewind(2), undefined, "not sent yet");
  drain(backlog);
  backlog.forget(1);
  assert.equal(backlog.firstSample, 1);
  assert.equal(backlog.rewind(0), undefined, "forgotten");
  assert.equal(backlog.rewind(NaN), undefined);
  assert.deepEqual(drain(backlog), []);
  assert.equal(backlog.rewind(1), 1);
  assert.deepEqual(drain(backlog), [[3, 4]]);
});

test("what is answered is not sent again, and no other message of the same text is lost", () => {
  const backlog = filled(["configure", [1, 2], "configure"]);
  drain(backlog);
  backlog.settle("configure");
  backlog.rewind(0);
  assert.deepEqual(drain(backlog), [[1, 2], "configure"]);
  backlog.settle("unknown");
});

test("messages in front of what has arrived have arrived; those at that place may not have", () => {
  const backlog = filled([[1, 2], "early", [3, 4], "late"]);
  drain(backlog);
  backlog.forget(2);
  backlog.rewind(2);
  assert.deepEqual(drain(backlog), ["late"]);
});

test("no more is kept than allowed", () => {
  const backlog = filled(Array.from({ length: 10 }, (_, index) => [index, index]), 2, 8);
  drain(backlog);
  assert.equal(backlog.firstSample, 6);
  assert.equal(backlog.rewind(5), undefined);
  assert.equal(backlog.rewind(6), 6);
  assert.deepEqual(drain(backlog), [[6, 6], [7, 7], [8, 8], [9, 9]]);
});

test("long audio is cut", () => {
  const backlog = new Backlog(1, 10 * FRAME_BYTES);
  backlog.append(new Uint8Array(2 * FRAME_BYTES + 1));
  assert.deepEqual(drain(backlog).map(({ length }) => length), [FRAME_BYTES, FRAME_BYTES, 1]);
});
