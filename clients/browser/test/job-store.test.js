import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError } from "../stream_browser/jobs/job-api.js";
import { JobNames } from "../stream_browser/jobs/job-name.js";
import { JobStore } from "../stream_browser/jobs/job-store.js";

/** @typedef {import("../stream_browser/jobs/job-state.js").Job} Job */

/**
 * @typedef {object} Upload
 * @property {FormData} form
 * @property {(job: any) => void} resolve
 * @property {(error: Error) => void} reject
 * @property {(share: number) => void} onProgress
 */

/** @param {string} id */
const queued = (id) => {
  return { id, status: "queued", progress: { percent: 0, message: "Waiting" }, error: null, result: null };
};

/** A server of jobs, without HTTP: what each call does can be replaced. */
class FakeApi {
  /** @type {string[]} */
  calls = [];
  /** @type {any} */
  answer = { ...queued("j1"), status: "completed", progress: { percent: 100, message: "" }, result: { text: "Hi." } };
  /** @type {Upload[]} */
  uploads = [];

  /** @param {FormData} form @param {any} options */
  submit(form, { onProgress, signal }) {
    return new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(new ApiError("ABORTED", "cancelled")));
      this.uploads.push({ form, resolve, reject, onProgress });
    });
  }

  /** @param {string} id */
  async read(id) {
    this.calls.push(`read ${id}`);
    if (this.answer instanceof Error) throw this.answer;
    return { ...this.answer, id };
  }

  /** @param {string} id */
  async cancel(id) {
    this.calls.push(`cancel ${id}`);
    return { ...queued(id), status: "cancelled" };
  }

  /** @param {string} id */
  async remove(id) {
    this.calls.push(`remove ${id}`);
  }

  async list() {
    const entry = { status: "completed", created_at: "2026-01-02T03:04:05Z", error: null, text: "Hello" };
    return {
      data: [{ ...entry, id: "old" }, { ...entry, id: "batch", metadata: { batch_mode: true } }],
      next_cursor: null,
    };
  }
}

const settled = () => new Promise(setImmediate);
const file = (/** @type {string} */ name, bytes = "RIFF") => new File([bytes], name, { type: "audio/wav" });

function made() {
  const api = new FakeApi();
  const store = new JobStore(/** @type {any} */ (api), new JobNames(null));
  /** @type {string[]} */
  const states = [];
  store.addEventListener("change", (event) => {
    const { before, after } = /** @type {CustomEvent<{ before: Job | null, after: Job | null }>} */ (event).detail;
    if (before?.state !== after?.state) states.push(`${(after ?? before)?.name} ${after?.state ?? "gone"}`);
  });
  return { api, store, states };
}

/** @param {JobStore} store @param {string} name */
const named = (store, name) => /** @type {Job} */ ([...store.jobs.values()].find((job) => job.name === name));

test("three files go up at once, the fourth when one of them is done", async () => {
  const { api, store } = made();
  store.addFiles(["a", "b", "c", "d"].map((name) => file(name)), { model: "m" });
  assert.equal(api.uploads.length, 3);
  assert.equal(named(store, "d").state, "waiting");
  assert.equal(api.uploads[0].form.get("model"), "m");
  api.uploads[0].reject(new ApiError("UNSUPPORTED_FORMAT", "the file is not audio"));
  await settled();
  assert.equal(named(store, "a").problem?.message, "The file is not audio.");
  assert.equal(named(store, "d").state, "uploading");
});

test("a job is asked about until it is finished", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { api, store, states } = made();
  store.addFiles([file("a")], {});
  api.uploads[0].onProgress(0.5);
  assert.equal(named(store, "a").percent, 50);
  api.uploads[0].resolve(queued("j1"));
  await settled();
  t.mock.timers.tick(600);
  await settled();
  assert.deepEqual(states, ["a waiting", "a uploading", "a queued", "a completed"]);
  t.mock.timers.tick(60_000);
  await settled();
  assert.deepEqual(api.calls, ["read j1"]);
});

test("nothing is asked while nobody looks, and everything when somebody does again", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { api, store } = made();
  store.addFiles([file("a")], {});
  store.pause();
  api.uploads[0].resolve(queued("j1"));
  await settled();
  t.mock.timers.tick(60_000);
  assert.deepEqual(api.calls, []);
  store.resume();
  await settled();
  assert.deepEqual(api.calls, ["read j1"]);
  assert.equal(named(store, "a").state, "completed");
});

test("a server that is away loses no job", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { api, store } = made();
  /** @type {boolean[]} */
  const away = [];
  store.addEventListener("away", (event) => away.push(/** @type {CustomEvent<boolean>} */ (event).detail));
  store.addFiles([file("a")], {});
  api.uploads[0].resolve(queued("j1"));
  await settled();
  const answer = api.answer;
  api.answer = new ApiError("NETWORK", "the server cannot be reached");
  for (let round = 0; round < 3; round += 1) {
    t.mock.timers.tick(30_000);
    await settled();
  }
  assert.equal(named(store, "a").state, "queued");
  api.answer = answer;
  t.mock.timers.tick(30_000);
  await settled();
  assert.equal(named(store, "a").state, "completed");
  assert.deepEqual(away, [true, false]);
});

test("a job that the server has forgotten has failed", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { api, store } = made();
  store.addFiles([file("a")], {});
  api.uploads[0].resolve(queued("j1"));
  await settled();
  api.answer = new ApiError("NOT_FOUND", "there is no such job", { status: 404 });
  t.mock.timers.tick(600);
  await settled();
  assert.equal(named(store, "a").state, "failed");
});

test("cancelling works before, during and after the upload", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { api, store } = made();
  store.addFiles(["a", "b", "c", "d"].map((name) => file(name)), {});
  await store.cancel(named(store, "d").key);
  assert.equal(named(store, "d").state, "cancelled");

  await store.cancel(named(store, "a").key);
  await settled();
  assert.equal(named(store, "a").state, "cancelled");

  api.uploads[1].resolve(queued("j-b"));
  await settled();
  await store.cancel(named(store, "b").key);
  assert.equal(named(store, "b").state, "cancelled");

  api.uploads[2].onProgress(1); // the server may have taken it already
  await store.cancel(named(store, "c").key);
  assert.equal(named(store, "c").state, "uploading");
  api.uploads[2].resolve(queued("j-c"));
  await settled();
  assert.equal(named(store, "c").state, "cancelled");
  assert.deepEqual(api.calls, ["cancel j-b", "cancel j-c"]);
  assert.equal(api.uploads.length, 3, "what was cancelled never went up");
});

test("what failed can be tried again, with the same file", async () => {
  const { api, store } = made();
  store.addFiles([file("a")], {});
  api.uploads[0].reject(new ApiError("NETWORK", "the connection broke"));
  await settled();
  store.retry(named(store, "a").key);
  assert.equal(/** @type {File} */ (api.uploads[1].form.get("file")).name, "a");
  assert.equal(named(store, "a").state, "uploading");
});

test("a file that is refused beforehand is never sent, by a limit that was told once too", async () => {
  const { api, store } = made();
  store.addFiles([file("empty", "")], {});
  assert.equal(named(store, "empty").problem?.code, "EMPTY");
  store.addFiles([file("a", "12345678901")], {});
  api.uploads[0].reject(new ApiError("FILE_TOO_LARGE", "the file is larger than 0.00001 MB, the most that is taken"));
  await settled();
  store.addFiles([file("b", "12345678901"), file("c", "1234567890")], {});
  assert.equal(named(store, "b").problem?.code, "FILE_TOO_LARGE");
  assert.equal(api.uploads.length, 2);
});

test("earlier jobs come from the server, without batches, and can be removed there", async () => {
  const { api, store, states } = made();
  await store.listEarlier();
  assert.deepEqual([...store.jobs.keys()], ["old"]);
  assert.equal(store.hasMore, false);
  await store.remove("old");
  assert.deepEqual(api.calls, ["remove old"]);
  assert.deepEqual(states, [" completed", " gone"]);
});

test("an address is sent as such", () => {
  const { api, store } = made();
  store.addAddress("https://example.com/talk.mp3", { model: "m" });
  assert.equal(api.uploads[0].form.get("url"), "https://example.com/talk.mp3");
  assert.equal(api.uploads[0].form.has("file"), false);
});
