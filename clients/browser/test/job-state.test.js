import assert from "node:assert/strict";
import { test } from "node:test";

import { problemOf } from "../stream_browser/jobs/job-problem.js";
import {
  actionsOf, announcementOf, answered, cancelled, failed, isFinished, isRemote, listedJob, newJob, statusOf, stemOf,
  titleOf, uploading,
} from "../stream_browser/jobs/job-state.js";

const FILE = { name: "talk.wav", size: 1_400_000 };
const waiting = newJob("new-1", FILE, 1_000);

/** @param {object} answer */
const after = (answer) => answered(waiting, { id: "j1", error: null, result: null, ...answer }, problemOf);

test("a job goes from the file to the transcript", () => {
  assert.equal(statusOf(waiting), "Waiting to upload");
  assert.equal(statusOf(uploading(waiting, 0.349)), "Uploading, 34 %");
  assert.equal(statusOf(uploading(waiting, 1)), "Uploaded, waiting for the server");
  const queued = after({ status: "queued", progress: { percent: 0, message: "Waiting" } });
  assert.equal(statusOf(queued), "Queued");
  const processing = after({ status: "processing", progress: { percent: 40, message: "Transcribed 0:20 of 0:44" } });
  assert.deepEqual([statusOf(processing), processing.percent], ["Transcribed 0:20 of 0:44", 40]);
  const progress = { percent: 97, message: "Transcribed 0:44 of 0:44" };
  const completed = after({ status: "completed", progress, result: { text: "It was the best of times." } });
  assert.deepEqual([statusOf(completed), completed.percent, completed.id], ["Completed", 100, "j1"]);
  assert.equal(completed.text, "It was the best of times.");
  assert.deepEqual([waiting, queued, processing, completed].map(isFinished), [false, false, false, true]);
  assert.deepEqual([waiting, queued, processing, completed].map(isRemote), [false, true, true, false]);
});

test("a job that fails says why and what to do, and can be tried again where that may help", () => {
  const error = { code: "UNSUPPORTED_FORMAT", message: "the file is empty" };
  const job = after({ status: "failed", progress: { percent: 0, message: "" }, error });
  assert.equal(job.problem?.message, "The file is empty.");
  assert.match(job.problem?.advice ?? "", /Choose another file/);
  assert.deepEqual(actionsOf(job), ["remove"], "the same file would fail again");
  const off = { code: "FEATURE_UNAVAILABLE", message: "diarization is switched off on this server (diarizer=off)" };
  const unable = { ...job, problem: problemOf(off) };
  assert.deepEqual(actionsOf(unable), ["remove"], "the same would be asked for again");
  assert.match(unable.problem.advice, /^Leave it out/);
  const broken = { ...job, problem: problemOf({ code: "NETWORK", message: "the connection broke" }) };
  assert.deepEqual(actionsOf(broken), ["retry", "remove"]);
  assert.deepEqual(actionsOf({ ...broken, canRetry: false }), ["remove"]);
});

test("what can be done depends on the state", () => {
  assert.deepEqual(actionsOf(waiting), ["cancel"]);
  assert.deepEqual(actionsOf(uploading(waiting, 0.5)), ["cancel"]);
  assert.deepEqual(actionsOf(after({ status: "processing", progress: { percent: 1, message: "" } })), ["cancel"]);
  assert.deepEqual(actionsOf(after({ status: "completed", progress: null })), ["open"]);
  assert.deepEqual(actionsOf(cancelled(waiting)), ["retry", "remove"]);
});

test("a change of state is announced, mere progress is not", () => {
  const processing = after({ status: "processing", progress: { percent: 40, message: "" } });
  const further = after({ status: "processing", progress: { percent: 60, message: "" } });
  assert.equal(announcementOf(processing, further), "");
  assert.equal(announcementOf(waiting, processing), "talk.wav: transcribing.");
  const completed = after({ status: "completed", progress: null });
  assert.equal(announcementOf(further, completed), "talk.wav: the transcript is ready.");
  const problem = problemOf({ code: "NETWORK", message: "the connection broke" });
  assert.equal(announcementOf(further, failed(further, problem)), "talk.wav: failed. The connection broke.");
});

test("a job of the list that this browser does not know by name is called by its first words", () => {
  const entry = {
    id: "0123456789abcdef", status: "completed", created_at: "2026-01-02T03:04:05.000000Z", error: null,
    text: "word ".repeat(100), progress: null,
  };
  const job = listedJob(entry, "", problemOf);
  assert.equal(job.createdMs, Date.UTC(2026, 0, 2, 3, 4, 5));
  assert.ok(titleOf(job).startsWith("word word") && titleOf(job).length < 170 && titleOf(job).endsWith("…"));
  assert.equal(titleOf(listedJob(entry, "talk.wav", problemOf)), "talk.wav");
  assert.equal(titleOf(listedJob({ ...entry, text: null, status: "queued" }, "", problemOf)), "Job 01234567");
  assert.equal(job.canRetry, false);
});

test("what is missing from a completed job is told", () => {
  const job = after({ status: "completed", progress: null, error: { code: "INTERNAL", message: "no translation" } });
  assert.equal(statusOf(job), "Completed, with something missing");
  assert.deepEqual(actionsOf(job), ["open"]);
});

test("files are called like what they were made of", () => {
  assert.deepEqual(
    [
      "talk.wav", "a talk. Part 2.mp3", "https://example.com/talks/one.mp3?from=5", "https://example.com/", ".wav",
      "It was the best of times, it was the…", "one/two\\three.ogg",
    ].map(stemOf),
    ["talk", "a talk. Part 2", "one", "example", "transcript", "It was the best of times, it was the", "three"],
  );
});
