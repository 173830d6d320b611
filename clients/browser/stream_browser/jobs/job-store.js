/**
 * The jobs of the page: takes files and addresses, uploads some at a time, asks the server how they are.
 *
 * Dispatches `change` (detail: `{ before, after }`; before null for a new job, after null for one that is gone) and
 * `away` (detail: whether the server does not answer). It does not know the page; what is shown is made of `jobs`.
 */

import { ApiError } from "./job-api.js";
import { nextPollMs } from "./job-poll.js";
import { problemOf } from "./job-problem.js";
import { answered, cancelled, failed, isRemote, listedJob, newJob, uploading } from "./job-state.js";
import { limitTold, refusalOf } from "./upload-check.js";
import { UploadQueue } from "./upload-queue.js";

const UPLOADS_AT_ONCE = 3;

/** @typedef {import("./job-state.js").Job} Job */
/** @typedef {{ file: File | null, address: string, options: Record<string, string> }} Source */

/**
 * @typedef {object} Asked when a job is asked about next, and what has come of it so far
 * @property {ReturnType<typeof setTimeout> | undefined} timer
 * @property {number} unchanged
 * @property {number} failures
 */

export class JobStore extends EventTarget {
  /** @type {Map<string, Job>} */
  jobs = new Map();

  #api;
  #names;
  #queue = new UploadQueue(UPLOADS_AT_ONCE);
  #mostBytes = Infinity;
  #nextKey = 1;
  #isPaused = false;
  #isAway = false;
  /** @type {string | null} */
  #cursor = "";
  /** @type {Map<string, Source>} */
  #sources = new Map();
  /** @type {Map<string, AbortController>} */
  #uploads = new Map();
  /** Uploads that were cancelled when all of them had gone out. @type {Set<string>} */
  #unwanted = new Set();
  /** @type {Map<string, Asked>} */
  #asked = new Map();

  /**
   * @param {import("./job-api.js").JobApi} api
   * @param {import("./job-name.js").JobNames} names
   */
  constructor(api, names) {
    super();
    this.#api = api;
    this.#names = names;
  }

  /** Whether something would be lost with the page: what the server has not accepted yet. */
  get isUploading() {
    return [...this.jobs.values()].some(({ state }) => state === "waiting" || state === "uploading");
  }

  /** Whether the server has more jobs than were listed. */
  get hasMore() {
    return this.#cursor !== null;
  }

  /**
   * @param {readonly File[]} files
   * @param {Record<string, string>} options fields of the form
   */
  addFiles(files, options) {
    const now = Date.now();
    for (const file of files) this.#add({ file, address: "", options }, { name: file.name, size: file.size }, now);
  }

  /**
   * @param {string} address
   * @param {Record<string, string>} options
   */
  addAddress(address, options) {
    this.#add({ file: null, address, options }, { name: address, size: 0 }, Date.now());
  }

  /** The file of a job, where this page still has it. @param {string} key */
  fileOf(key) {
    return this.#sources.get(key)?.file ?? null;
  }

  /** Take in a page of the jobs that were made before. @returns {Promise<void>} rejects with ApiError */
  async listEarlier() {
    const { data, next_cursor: next } = await this.#api.list(this.#cursor ?? "");
    this.#cursor = next;
    const known = new Set([...this.jobs.values()].map((job) => job.id));
    for (const entry of data) {
      // A batch has no result of its own, and its files are not in the list.
      if (known.has(entry.id) || entry.metadata?.batch_mode) continue;
      const job = listedJob(entry, this.#names.get(entry.id), problemOf);
      this.#put(job);
      if (isRemote(job)) this.#follow(job.key);
    }
  }

  /** The job with its result. @param {string} id */
  read(id) {
    return this.#api.read(id);
  }

  /** @param {string} key */
  async cancel(key) {
    const job = this.jobs.get(key);
    if (!job) return;
    const upload = this.#uploads.get(key);
    if (this.#queue.remove(key)) {
      this.#put(cancelled(job));
    } else if (upload) {
      // What has gone out as a whole may be a job by now: that is cancelled when the answer tells its id.
      if (job.percent < 100 || this.#unwanted.has(key)) upload.abort();
      else this.#unwanted.add(key);
    } else if (isRemote(job)) {
      try {
        this.#take(key, await this.#api.cancel(job.id));
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        await this.#ask(key); // finished meanwhile, or the server is away: it says how it stands
      }
    }
  }

  /** @param {string} key */
  retry(key) {
    const job = this.jobs.get(key);
    if (job && this.#sources.has(key)) {
      if (job.id) this.#api.remove(job.id).catch(() => {}); // at worst it is listed beside the new one
      this.#put({ ...job, id: "", state: "waiting", percent: 0, problem: null });
      this.#submit(key);
    }
  }

  /** Forget a job, here and at the server. @param {string} key @returns {Promise<void>} rejects with ApiError */
  async remove(key) {
    const job = this.jobs.get(key);
    if (!job) return;
    if (job.id) {
      await this.#api.remove(job.id).catch((error) => {
        if (error.code !== "NOT_FOUND") throw error;
      });
      this.#names.delete(job.id);
    }
    clearTimeout(this.#asked.get(key)?.timer);
    for (const map of [this.jobs, this.#sources, this.#asked]) map.delete(key);
    this.#tell(job, null);
  }

  /** Ask about nothing for now: nobody is looking. */
  pause() {
    this.#isPaused = true;
    for (const asked of this.#asked.values()) clearTimeout(asked.timer);
  }

  /** Go on, and see at once how things are. */
  resume() {
    this.#isPaused = false;
    for (const key of this.#asked.keys()) this.#ask(key);
  }

  /** @param {Source} source @param {{ name: string, size: number }} about @param {number} now */
  #add(source, about, now) {
    const key = `new-${this.#nextKey++}`;
    this.#sources.set(key, source);
    const job = newJob(key, about, now);
    const refusal = source.file && refusalOf(source.file, this.#mostBytes);
    if (refusal) {
      this.#put({ ...failed(job, refusal), canRetry: false });
    } else {
      this.#put(job);
      this.#submit(key);
    }
  }

  /** @param {string} key */
  #submit(key) {
    this.#queue.add(key, async () => {
      const job = /** @type {Job} */ (this.jobs.get(key));
      const { file, address, options } = /** @type {Source} */ (this.#sources.get(key));
      const form = new FormData();
      for (const [name, value] of Object.entries(options)) form.set(name, value);
      if (file) form.set("file", file, file.name);
      else form.set("url", address);
      const upload = new AbortController();
      this.#uploads.set(key, upload);
      try {
        const answer = await this.#upload(key, form, upload.signal);
        this.#names.set(answer.id, job.name);
        this.#take(key, answer);
        this.#uploads.delete(key);
        if (this.#unwanted.has(key)) await this.cancel(key);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        this.#mostBytes = Math.min(this.#mostBytes, limitTold(error) ?? Infinity);
        const now = /** @type {Job} */ (this.jobs.get(key));
        this.#put(error.code === "ABORTED" ? cancelled(now) : failed(now, problemOf(error)));
      } finally {
        this.#uploads.delete(key);
        this.#unwanted.delete(key);
      }
    });
  }

  /** @param {string} key @param {FormData} form @param {AbortSignal} signal */
  #upload(key, form, signal) {
    const show = (/** @type {number} */ share) => {
      const job = this.jobs.get(key);
      if (job && this.#uploads.has(key)) this.#put(uploading(job, share));
    };
    show(0);
    return this.#api.submit(form, { signal, onProgress: show });
  }

  /** @param {string} key @param {any} answer */
  #take(key, answer) {
    const job = this.jobs.get(key);
    if (!job) return;
    const after = answered(job, answer, problemOf);
    this.#put(after);
    if (isRemote(after)) this.#follow(key);
    else this.#unfollow(key);
  }

  /** @param {string} key */
  #follow(key) {
    const asked = this.#asked.get(key) ?? { timer: undefined, unchanged: 0, failures: 0 };
    this.#asked.set(key, asked);
    this.#askLater(key, asked, 0);
  }

  /** @param {string} key */
  #unfollow(key) {
    clearTimeout(this.#asked.get(key)?.timer);
    this.#asked.delete(key);
  }

  /** @param {string} key @param {Asked} asked @param {number} retryAfterSec */
  #askLater(key, asked, retryAfterSec) {
    clearTimeout(asked.timer);
    if (this.#isPaused) return;
    const { unchanged, failures } = asked;
    const wait = nextPollMs({ unchanged, failures, retryAfterSec, jobs: this.#asked.size });
    asked.timer = setTimeout(() => this.#ask(key), wait);
  }

  /** @param {string} key */
  async #ask(key) {
    const asked = this.#asked.get(key);
    const before = this.jobs.get(key);
    if (!asked || !before) return;
    try {
      const answer = await this.#api.read(before.id);
      this.#setAway(false);
      if (this.#asked.get(key) !== asked) return; // cancelled or removed meanwhile
      asked.failures = 0;
      asked.unchanged = before.percent === answer.progress.percent ? asked.unchanged + 1 : 0;
      this.#take(key, answer);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (this.#asked.get(key) !== asked) return;
      if (error.status >= 400 && error.status < 500 && error.status !== 429) {
        this.#unfollow(key);
        this.#put(failed(before, problemOf(error)));
        return;
      }
      this.#setAway(error.code === "NETWORK");
      asked.failures += 1;
      this.#askLater(key, asked, error.retryAfterSec);
    }
  }

  /** @param {boolean} isAway */
  #setAway(isAway) {
    if (isAway === this.#isAway) return;
    this.#isAway = isAway;
    this.dispatchEvent(new CustomEvent("away", { detail: isAway }));
  }

  /** @param {Job} job */
  #put(job) {
    const before = this.jobs.get(job.key) ?? null;
    this.jobs.set(job.key, job);
    this.#tell(before, job);
  }

  /** @param {Job | null} before @param {Job | null} after */
  #tell(before, after) {
    this.dispatchEvent(new CustomEvent("change", { detail: { before, after } }));
  }
}
