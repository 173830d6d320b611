import assert from "node:assert/strict";
import { test } from "node:test";

import { WordIndex } from "../stream_browser/jobs/word-index.js";

const index = new WordIndex([
  { start_ms: 100, end_ms: 300 },
  { start_ms: 300, end_ms: 500 },
  { start_ms: 4_000, end_ms: 4_200 },
]);

test("the word that is being said is found, and none in a pause", () => {
  const found = [0, 99, 100, 299, 300, 800, 1_000, 3_999, 4_000, 9_000].map((ms) => index.at(ms));
  assert.deepEqual(found, [-1, -1, 0, 0, 1, 1, -1, -1, 2, -1]);
});

test("the last one that has begun is found in a pause too", () => {
  assert.deepEqual([0, 100, 3_999, 9_000].map((ms) => index.begun(ms)), [-1, 0, 1, 2]);
  assert.equal(new WordIndex([]).begun(5), -1);
});

test("it agrees with looking at each of forty thousand words", () => {
  const words = Array.from({ length: 40_000 }, (_, place) => ({ start_ms: place * 360, end_ms: place * 360 + 300 }));
  const long = new WordIndex(words);
  for (let ms = -50; ms < 40_000 * 360; ms += 361_007) {
    assert.equal(long.begun(ms), words.filter((word) => word.start_ms <= ms).length - 1);
  }
});
