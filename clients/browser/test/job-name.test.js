import assert from "node:assert/strict";
import { test } from "node:test";

import { JobNames } from "../stream_browser/jobs/job-name.js";

function memory() {
  /** @type {Map<string, string>} */
  const kept = new Map();
  return {
    getItem: (/** @type {string} */ key) => kept.get(key) ?? null,
    setItem: (/** @type {string} */ key, /** @type {string} */ value) => void kept.set(key, value),
    kept,
  };
}

test("names outlive the page, but not all of them", () => {
  const storage = memory();
  const names = new JobNames(storage);
  for (let number = 0; number < 400; number += 1) names.set(`job-${number}`, `talk-${number}.wav`);
  names.delete("job-398");
  const later = new JobNames(storage);
  assert.equal(later.get("job-399"), "talk-399.wav");
  assert.equal(later.get("job-398"), "");
  assert.equal(later.get("job-99"), "", "the oldest are forgotten");
});

test("storage that is forbidden, full or unreadable is no error", () => {
  const names = new JobNames(null);
  names.set("j", "talk.wav");
  assert.equal(names.get("j"), "talk.wav");
  for (const rubbish of ["{", "{}", "[[1, 2]]", "null"]) {
    const storage = memory();
    storage.kept.set("stream-server.jobs", rubbish);
    assert.equal(new JobNames(storage).get("1"), "");
  }
  const full = { getItem: () => null, setItem: () => { throw new Error("full"); } };
  new JobNames(full).set("j", "talk.wav");
});
