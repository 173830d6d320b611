import assert from "node:assert/strict";
import { test } from "node:test";

import { nextPollMs } from "../stream_browser/jobs/job-poll.js";

const SEEN = { unchanged: 0, failures: 0, retryAfterSec: 0, jobs: 1 };

test("a job that moves is asked about soon, one that stands still later and later, but not for ever later", () => {
  const waits = [0, 1, 2, 5, 50].map((unchanged) => nextPollMs({ ...SEEN, unchanged }));
  assert.equal(waits[0], 500);
  assert.deepEqual(waits, [...waits].sort((one, other) => one - other));
  assert.equal(waits[4], 5_000);
});

test("a server that is away is asked rarely, and not before it wants to be", () => {
  const waits = [1, 2, 5, 100].map((failures) => nextPollMs({ ...SEEN, failures }));
  assert.deepEqual(waits, [1_000, 2_000, 16_000, 30_000]);
  assert.equal(nextPollMs({ ...SEEN, failures: 1, retryAfterSec: 20 }), 20_000);
});

test("many jobs ask no more often than a few", () => {
  const each = nextPollMs({ ...SEEN, jobs: 40 });
  assert.equal(40 / each, 4 / nextPollMs({ ...SEEN, jobs: 4 }));
});
