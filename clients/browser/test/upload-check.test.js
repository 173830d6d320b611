import assert from "node:assert/strict";
import { test } from "node:test";

import { limitTold, refusalOf, sizeWords } from "../stream_browser/jobs/upload-check.js";

const GOOD = { name: "talk.wav", size: 1_000, type: "audio/wav" };

test("what may be a recording goes through, whatever it is called", () => {
  for (const file of [
    GOOD,
    { ...GOOD, name: "talk", type: "" },
    { ...GOOD, name: "talk.mp3", type: "text/plain" },
    { ...GOOD, name: "call.ts", type: "text/vnd.trolltech.linguist" },
    { ...GOOD, name: "film.mkv", type: "application/octet-stream" },
  ]) {
    assert.equal(refusalOf(file, Infinity), null, file.name);
  }
});

test("what is no recording is refused with the reason and with what to do", () => {
  assert.equal(refusalOf({ ...GOOD, size: 0 }, Infinity)?.message, "The file is empty.");
  const text = refusalOf({ name: "notes.txt", size: 5, type: "text/plain" }, Infinity);
  assert.match(text?.message ?? "", /not a recording \(text\/plain\)/);
  assert.match(text?.advice ?? "", /wav, mp3/);
});

test("the limit is learned from a refusal, and then told beforehand", () => {
  const fault = { code: "FILE_TOO_LARGE", message: "the file is larger than 0.5 MB, the most that is taken" };
  const most = limitTold(fault);
  assert.equal(most, 500_000);
  assert.equal(refusalOf({ ...GOOD, size: 500_000 }, most ?? 0), null);
  const refusal = refusalOf({ ...GOOD, size: 12_300_000 }, most ?? 0);
  assert.equal(refusal?.message, "The file has 12 MB, and this server takes 0.5 MB at most.");
  assert.equal(limitTold({ code: "INTERNAL", message: fault.message }), null);
  assert.equal(limitTold({ code: "FILE_TOO_LARGE", message: "too large" }), null);
});

test("sizes are for people", () => {
  assert.deepEqual([1, 40_400, 1_400_000, 523_000_000, 2.2e9].map(sizeWords), [
    "1 kB", "40 kB", "1.4 MB", "523 MB", "2.2 GB",
  ]);
});
