import assert from "node:assert/strict";
import { test } from "node:test";

import { UploadQueue } from "../stream_browser/jobs/upload-queue.js";

test("so many at once, the rest in its turn, and those taken out never", async () => {
  const queue = new UploadQueue(2);
  /** @type {string[]} */
  const begun = [];
  /** @type {Map<string, () => void>} */
  const finish = new Map();
  for (const key of ["a", "b", "c", "d", "e"]) {
    queue.add(key, () => {
      begun.push(key);
      return new Promise((resolve) => finish.set(key, resolve));
    });
  }
  assert.deepEqual(begun, ["a", "b"]);
  assert.equal(queue.remove("c"), true);
  assert.equal(queue.remove("a"), false, "it has begun");
  finish.get("b")?.();
  await new Promise(setImmediate);
  assert.deepEqual(begun, ["a", "b", "d"]);
  finish.get("a")?.();
  await new Promise(setImmediate);
  assert.deepEqual(begun, ["a", "b", "d", "e"]);
});
