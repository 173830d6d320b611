/**
 * The jobs page: joins the jobs, their list, the result and the dialogs. It decides nothing that a module below knows.
 */

import { takeFiles } from "./drop-zone.js";
import { ApiError, JobApi } from "./job-api.js";
import { JobList } from "./job-list.js";
import { JobNames } from "./job-name.js";
import { problemOf } from "./job-problem.js";
import { announcementOf, titleOf } from "./job-state.js";
import { JobStore } from "./job-store.js";
import { askForKey, keptKey } from "../shared/key-dialog.js";
import { namedLanguages } from "../shared/language-name.js";
import { NoticeView } from "../shared/notice-view.js";
import { ResultView } from "./result-view.js";

const TOAST_MS = 2_500;
/** Where the arrows have a meaning of their own, and where the space bar has. */
const FIELDS = "input, textarea, select, dialog";
const PRESSABLE = `${FIELDS}, button, summary, a`;

/** @typedef {import("./job-state.js").Job} Job */

const part = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const control = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (part(id));

const keyDialog = /** @type {HTMLDialogElement} */ (part("key"));
const api = new JobApi({
  base: document.baseURI,
  key: keptKey(),
  askKey: (refused) => askForKey(keyDialog, refused),
});
const names = new JobNames(storage());
const store = new JobStore(api, names);
const list = new JobList(part("jobs"), /** @type {HTMLTemplateElement} */ (part("job-template")));
const notice = new NoticeView(part("notice"));
const view = new ResultView(part("result"), { say, onFile: (file) => files.set(shownId(), file) });

/** Files that were chosen again for jobs of earlier visits, by the id of the job. @type {Map<string, File>} */
const files = new Map();

/** Jobs name a model: what is dropped before the server has told which there are waits for that. @type {() => void} */
let serve = () => {};
const served = new Promise((resolve) => (serve = () => resolve(null)));

/** @type {ReturnType<typeof setTimeout> | undefined} */
let toasting;
/** The job whose result is shown, or was last. */
let openKey = "";

store.addEventListener("change", (event) => {
  const { before, after } = /** @type {CustomEvent<{ before: Job | null, after: Job | null }>} */ (event).detail;
  if (after) list.show(after);
  else if (before) list.remove(before.key);
  part("empty").hidden = store.jobs.size > 0;
  const words = before && after ? announcementOf(before, after) : "";
  if (words) announce(words);
});

store.addEventListener("away", (event) => {
  const isAway = /** @type {CustomEvent<boolean>} */ (event).detail;
  if (!isAway) return notice.hide();
  notice.show({
    title: "The server does not answer.",
    text: "The jobs that it has accepted go on once it is back, and this page keeps asking.",
    label: "",
    onStep: () => {},
  });
});

list.addEventListener("action", (event) => {
  const { action, key } = /** @type {CustomEvent<{ action: string, key: string }>} */ (event).detail;
  const job = store.jobs.get(key);
  if (!job) return;
  if (action === "open") location.hash = `job=${job.id}`;
  else if (action === "cancel") store.cancel(key);
  else if (action === "retry") store.retry(key);
  else if (action === "remove") store.remove(key).catch((error) => complain(error));
});

takeFiles(
  {
    zone: part("drop-zone"),
    button: /** @type {HTMLButtonElement} */ (part("choose")),
    input: control("files"),
  },
  async (chosen) => {
    announce("Waiting for the server.");
    await served;
    store.addFiles(chosen, options());
    announce(chosen.length === 1 ? `${chosen[0].name} was added.` : `${chosen.length} files were added.`);
  },
  (address) => {
    control("address").value = address;
    control("address").focus();
  },
);

part("address-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = control("address");
  const address = input.value.trim();
  const isGood = /^(https?|s3):\/\/[^\s/]+/i.test(address);
  const problem = part("address-problem");
  problem.hidden = isGood;
  problem.textContent = isGood ? "" : "Give an address that begins with https://, as https://example.com/talk.mp3.";
  input.setAttribute("aria-invalid", String(!isGood));
  if (!isGood) return input.focus();
  announce("Waiting for the server.");
  await served;
  input.value = "";
  store.addAddress(address, options());
});

control("diarize").addEventListener("change", () => {
  control("num-speakers").disabled = !control("diarize").checked;
});

part("more").addEventListener("click", () => listEarlier().catch((error) => complain(error)));
part("back").addEventListener("click", () => {
  location.hash = "";
});
part("delete").addEventListener("click", () => {
  const dialog = /** @type {HTMLDialogElement} */ (part("delete-dialog"));
  dialog.returnValue = "";
  dialog.showModal();
  dialog.addEventListener("close", () => dialog.returnValue === "delete" && deleteShown(), { once: true });
});

addEventListener("hashchange", open);
addEventListener("keydown", (event) => {
  const own = event.key === " " ? PRESSABLE : FIELDS;
  const isElsewhere = event.target instanceof Element && event.target.closest(own);
  const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (!part("result").hidden && isPlain && !isElsewhere) view.press(event);
});
addEventListener("click", ({ target }) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (target instanceof Node && !menu.contains(target)) menu.removeAttribute("open");
  }
});
addEventListener("keydown", ({ key }) => {
  if (key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.removeAttribute("open");
    /** @type {HTMLElement | null} */ (menu.querySelector("summary"))?.focus();
  }
});
addEventListener("beforeunload", (event) => {
  if (store.isUploading) event.preventDefault();
});
document.addEventListener("visibilitychange", () => (document.hidden ? store.pause() : store.resume()));

begin();

async function begin() {
  try {
    const [model] = await api.models();
    fillSelect("model", [[model.id, model.id]]);
    /** @type {[string, string][]} */
    const languages = namedLanguages(model.languages).map(({ code, name }) => [code, name]);
    fillSelect("language", languages.length > 1 ? [["auto", "Automatic"], ...languages] : languages);
    serve();
    await listEarlier();
    await open();
  } catch (error) {
    complain(error, begin);
  }
  part("empty").hidden = store.jobs.size > 0;
}

async function listEarlier() {
  await store.listEarlier();
  part("more").hidden = !store.hasMore;
}

/** Show the result that the address names; the list where it names none. */
async function open() {
  const id = shownId();
  part("main").dataset.view = id ? "result" : "list";
  const job = [...store.jobs.values()].find((other) => other.id === id);
  list.choose((id && job?.key) || "");
  if (!id) {
    view.close();
    document.title = "Jobs · Stream Server";
    list.focus(openKey);
    return;
  }
  openKey = job?.key ?? "";
  const name = job ? titleOf(job) : names.get(id) || `Job ${id.slice(0, 8)}`;
  view.open(name);
  document.title = `${name} · Stream Server`;
  part("result").focus({ preventScroll: true });
  scrollTo(0, 0);
  try {
    const answer = await store.read(id);
    if (shownId() !== id) return; // another was opened meanwhile
    if (answer.status !== "completed") return void (location.hash = ""); // the list says how it stands
    const reason = answer.error ? problemOf(answer.error).message : "";
    view.show(answer, (job && store.fileOf(job.key)) ?? files.get(id) ?? null, reason);
  } catch (error) {
    if (shownId() === id) location.hash = "";
    complain(error);
  }
}

async function deleteShown() {
  const job = [...store.jobs.values()].find((other) => other.id === shownId());
  try {
    if (job) await store.remove(job.key);
    else await api.remove(shownId());
    location.hash = "";
    say("Deleted.");
  } catch (error) {
    complain(error);
  }
}

function shownId() {
  return new URLSearchParams(location.hash.slice(1)).get("job") ?? "";
}

/** What is asked for with each job. @returns {Record<string, string>} */
function options() {
  const language = control("language").value;
  const speakers = control("num-speakers").value;
  return {
    model: control("model").value,
    "timestamp_granularities[]": "word",
    ...(language && language !== "auto" ? { language } : {}),
    ...(control("diarize").checked && { enable_diarization: "true", ...(speakers && { num_speakers: speakers }) }),
  };
}

/** @param {string} id @param {[value: string, words: string][]} entries */
function fillSelect(id, entries) {
  part(id).replaceChildren(...entries.map(([value, words]) => new Option(words, value)));
  control(id).disabled = entries.length < 2;
}

/**
 * @param {unknown} error
 * @param {() => void} [again] what to do when somebody wants to try again
 */
function complain(error, again) {
  if (!(error instanceof ApiError)) throw error;
  const { message, advice } = problemOf(error);
  notice.show({ title: message, text: advice, label: again ? "Try again" : "", onStep: again ?? (() => {}) });
}

/** For those who do not look. @param {string} words */
function announce(words) {
  part("announcer").textContent = words;
}

/** A short word for all. @param {string} words */
function say(words) {
  announce(words);
  const toast = part("toast");
  toast.textContent = words;
  toast.hidden = false;
  clearTimeout(toasting);
  toasting = setTimeout(() => (toast.hidden = true), TOAST_MS);
}

function storage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}
