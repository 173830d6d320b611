/**
 * The jobs as a list on the page: one item for each, newest first, changed in place as the job goes on.
 *
 * It makes items from jobs and dispatches `action` (detail: `{ action, key }`) when a button of one is pressed.
 */

import { actionsOf, isFinished, statusOf, titleOf } from "./job-state.js";
import { sizeWords } from "./upload-check.js";

/** @typedef {import("./job-state.js").Job} Job */

/** @type {Record<import("./job-state.js").Action, string>} */
const LABELS = { open: "Open", cancel: "Cancel", retry: "Try again", remove: "Remove" };

export class JobList extends EventTarget {
  #list;
  #template;
  /** @type {Map<string, HTMLElement>} */
  #items = new Map();
  /** @type {Map<string, number>} */
  #created = new Map();

  /**
   * @param {HTMLElement} list
   * @param {HTMLTemplateElement} template of an item
   */
  constructor(list, template) {
    super();
    this.#list = list;
    this.#template = template;
    list.addEventListener("click", ({ target }) => {
      const button = target instanceof Element ? target.closest("button[data-action]") : null;
      const item = /** @type {HTMLElement | null} */ (button?.closest("li") ?? null);
      if (!(button instanceof HTMLElement) || !item) return;
      this.dispatchEvent(
        new CustomEvent("action", { detail: { action: button.dataset.action, key: item.dataset.key } }),
      );
    });
  }

  /** @param {Job} job */
  show(job) {
    let item = this.#items.get(job.key);
    if (!item) {
      item = this.#make(job);
      this.#items.set(job.key, item);
    }
    fill(item, job);
  }

  /** @param {string} key */
  remove(key) {
    const item = this.#items.get(key);
    const next = item?.nextElementSibling ?? item?.previousElementSibling;
    const hadFocus = item?.contains(document.activeElement);
    item?.remove();
    this.#items.delete(key);
    this.#created.delete(key);
    if (hadFocus) /** @type {HTMLElement | null} */ (next?.querySelector("button") ?? null)?.focus();
  }

  /** The one whose result is shown. @param {string} key empty for none */
  choose(key) {
    for (const [other, item] of this.#items) {
      if (other === key) item.setAttribute("aria-current", "true");
      else item.removeAttribute("aria-current");
    }
  }

  /** Where the reader goes back to. @param {string} key */
  focus(key) {
    /** @type {HTMLElement | null | undefined} */ (this.#items.get(key)?.querySelector("button"))?.focus();
  }

  /** @param {Job} job */
  #make(job) {
    const made = /** @type {DocumentFragment} */ (this.#template.content.cloneNode(true));
    const item = /** @type {HTMLElement} */ (made.firstElementChild);
    item.dataset.key = job.key;
    const title = part(item, ".job-title");
    title.id = `title-${job.key}`;
    const when = /** @type {HTMLTimeElement} */ (part(item, "time"));
    when.dateTime = new Date(job.createdMs).toISOString();
    when.textContent = whenWords(job.createdMs);
    const later = [...this.#created].find(([, created]) => created < job.createdMs)?.[0];
    this.#list.insertBefore(item, (later && this.#items.get(later)) || null);
    this.#created.set(job.key, job.createdMs);
    this.#created = new Map([...this.#created].sort(([, one], [, other]) => other - one));
    return item;
  }
}

/** @param {HTMLElement} item @param {Job} job */
function fill(item, job) {
  item.dataset.jobId = job.id;
  item.dataset.state = job.state;
  const name = titleOf(job);
  say(part(item, ".job-title"), name);
  part(item, ".job-title").toggleAttribute("data-nameless", !job.name);
  part(item, ".chip").dataset.state = job.state;
  say(part(item, ".job-status"), statusOf(job));
  say(part(item, ".job-size"), job.size ? sizeWords(job.size) : "");

  const bar = /** @type {HTMLProgressElement} */ (part(item, "progress"));
  bar.hidden = isFinished(job);
  bar.setAttribute("aria-label", `Progress of ${name}`);
  bar.value = job.percent;

  const text = part(item, ".job-text");
  text.hidden = !job.name || !job.text; // without a name, the text is the title
  say(text, job.text);

  const problem = part(item, ".job-problem");
  problem.hidden = !job.problem;
  if (job.problem) {
    say(part(item, ".job-problem strong"), job.problem.message);
    say(part(item, ".job-problem span"), job.problem.advice);
  }
  const buttons = part(item, ".job-actions");
  const actions = actionsOf(job);
  if (buttons.dataset.actions === actions.join(" ")) return; // a button that has the focus keeps it
  const hadFocus = buttons.contains(document.activeElement);
  buttons.dataset.actions = actions.join(" ");
  buttons.replaceChildren(...actions.map((action) => button(action, `title-${job.key}`)));
  if (hadFocus) /** @type {HTMLElement} */ (buttons.firstElementChild).focus();
}

/** @param {import("./job-state.js").Action} action @param {string} title */
function button(action, title) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = action === "retry" ? "button small" : "button small quiet";
  made.dataset.action = action;
  made.textContent = LABELS[action];
  made.setAttribute("aria-describedby", title);
  return made;
}

/** @param {HTMLElement} item @param {string} selector */
function part(item, selector) {
  return /** @type {HTMLElement} */ (item.querySelector(selector));
}

/** Text that is the same is not written again: screen readers and selections stay as they are.
 * @param {HTMLElement} element @param {string} text */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {number} ms since the epoch */
function whenWords(ms) {
  const date = new Date(ms);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday
    ? date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })
    : date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
}
