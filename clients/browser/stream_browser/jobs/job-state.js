/**
 * What is known of one job, from the file that was chosen to the transcript: values and the steps between them.
 *
 * It knows neither the page nor the network: answers of the server come in, new values go out.
 */

/**
 * - `waiting`: for its turn to be uploaded; `uploading`
 * - `queued`, `processing`, `completed`, `failed`, `cancelled`: as the server says
 * @typedef {"waiting" | "uploading" | "queued" | "processing" | "completed" | "failed" | "cancelled"} JobState
 */

/** @typedef {import("./job-problem.js").Problem} Problem */

/**
 * @typedef {object} Job
 * @property {string} key what the page calls it
 * @property {string} id what the server calls it; empty until it has been accepted
 * @property {string} name of the file or the address; empty where this browser does not know it
 * @property {number} size in bytes; 0 where it is not known
 * @property {JobState} state
 * @property {number} percent of the upload, then of the work; 0 to 100
 * @property {string} message what the server is doing, for people
 * @property {Problem | null} problem why it has failed, or what is missing from it
 * @property {string} text the first words of the transcript, where they are known
 * @property {number} createdMs since the epoch
 * @property {boolean} canRetry whether the file or the address is still at hand
 */

/** @typedef {"open" | "cancel" | "retry" | "remove"} Action */

/** @type {readonly string[]} */
const SERVER_STATES = ["queued", "processing", "completed", "failed", "cancelled"];

/** What the same file or address, asked for the same, would fail with again. */
const HOPELESS = ["UNSUPPORTED_FORMAT", "FILE_TOO_LARGE", "AUDIO_TOO_LONG", "URL_REFUSED", "FEATURE_UNAVAILABLE"];

const PREVIEW_LENGTH = 160;

/**
 * A job of this page, which nobody else has heard of.
 * @param {string} key
 * @param {{ name: string, size: number }} source
 * @param {number} now milliseconds since the epoch
 * @returns {Job}
 */
export function newJob(key, { name, size }, now) {
  return {
    key, id: "", name, size, state: "waiting", percent: 0, message: "", problem: null, text: "", createdMs: now,
    canRetry: true,
  };
}

/**
 * A job as the server's list tells it, which was made by an earlier visit or by another program.
 * @param {any} entry of `GET /v1/transcriptions`
 * @param {string} name empty where it is not known
 * @param {(fault: { code: string, message: string }) => Problem} explain
 * @returns {Job}
 */
export function listedJob(entry, name, explain) {
  const blank = newJob(entry.id, { name, size: 0 }, Date.parse(entry.created_at));
  const job = answered({ ...blank, canRetry: false }, entry, explain);
  return { ...job, text: preview(entry.text ?? "") };
}

/**
 * The upload has come this far.
 * @param {Job} job
 * @param {number} share 0 to 1
 * @returns {Job}
 */
export function uploading(job, share) {
  return { ...job, state: "uploading", percent: Math.floor(share * 100), message: "", problem: null };
}

/**
 * The server has told how it stands.
 * @param {Job} job
 * @param {any} answer a job of `/v1/transcription-jobs`
 * @param {(fault: { code: string, message: string }) => Problem} explain
 * @returns {Job}
 */
export function answered(job, answer, explain) {
  const state = SERVER_STATES.includes(answer.status) ? /** @type {JobState} */ (answer.status) : job.state;
  const percent = state === "completed" ? 100 : answer.progress?.percent ?? 0;
  const text = answer.result?.text ?? "";
  return {
    ...job,
    id: answer.id,
    state,
    percent,
    message: answer.progress?.message ?? "",
    problem: answer.error ? explain(answer.error) : null,
    text: text ? preview(text) : job.text,
  };
}

/**
 * @param {Job} job
 * @param {Problem} problem
 * @returns {Job}
 */
export function failed(job, problem) {
  return { ...job, state: "failed", message: "", problem };
}

/**
 * @param {Job} job
 * @returns {Job}
 */
export function cancelled(job) {
  return { ...job, state: "cancelled", message: "", problem: null };
}

/** @param {Job} job */
export function isFinished({ state }) {
  return state === "completed" || state === "failed" || state === "cancelled";
}

/** Whether it goes on at the server, and is to be asked about.
 * @param {Job} job */
export function isRemote({ state }) {
  return state === "queued" || state === "processing";
}

/**
 * What can be done with it, in the order of the buttons.
 * @param {Job} job
 * @returns {Action[]}
 */
export function actionsOf(job) {
  if (job.state === "completed") return ["open"];
  if (!isFinished(job)) return ["cancel"];
  const isHopeless = job.problem !== null && HOPELESS.includes(job.problem.code);
  return job.canRetry && !isHopeless ? ["retry", "remove"] : ["remove"];
}

/**
 * How it stands, in a few words.
 * @param {Job} job
 * @returns {string}
 */
export function statusOf(job) {
  switch (job.state) {
    case "waiting": return "Waiting to upload";
    case "uploading": return job.percent < 100 ? `Uploading, ${job.percent} %` : "Uploaded, waiting for the server";
    case "queued": return "Queued";
    case "processing": return job.message || "Transcribing";
    case "completed": return job.problem ? "Completed, with something missing" : "Completed";
    case "failed": return "Failed";
    case "cancelled": return "Cancelled";
  }
}

/**
 * What is worth telling somebody who does not look: a change of state, never mere progress.
 * @param {Job} before
 * @param {Job} after
 * @returns {string} empty where there is nothing to tell
 */
export function announcementOf(before, after) {
  if (before.state === after.state) return "";
  const name = titleOf(after);
  switch (after.state) {
    case "uploading": return `${name}: uploading.`;
    case "processing": return `${name}: transcribing.`;
    case "completed": return `${name}: the transcript is ready.`;
    case "failed": return `${name}: failed. ${after.problem?.message ?? ""}`.trimEnd();
    case "cancelled": return `${name}: cancelled.`;
    default: return "";
  }
}

/**
 * What it is called: by its name, else by its first words, else by its id.
 * @param {Job} job
 * @returns {string}
 */
export function titleOf({ name, text, id }) {
  return name || text || `Job ${id.slice(0, 8)}`;
}

/**
 * What files made of it are called, without their ending.
 * @param {string} title a file's name, an address, or the first words
 */
export function stemOf(title) {
  const [path] = /^\w+:\/\//.test(title) ? title.split(/[?#]/) : [title];
  const last = path.split(/[/\\]/).findLast(Boolean) ?? "";
  return last.replace(/\.\w{1,5}$/, "").slice(0, 80).replace(/[\s.…]+$/, "") || "transcript";
}

/** @param {string} text */
function preview(text) {
  return text.length > PREVIEW_LENGTH ? `${text.slice(0, PREVIEW_LENGTH).trimEnd()}…` : text;
}
