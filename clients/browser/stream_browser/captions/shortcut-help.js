/**
 * Listens to the keys of the page, and shows them in a dialog. What each does, it is told.
 */

import { element } from "./element.js";
import { SHORTCUTS, actionOf } from "./shortcut.js";

/** @typedef {import("./shortcut.js").Action} Action */

/**
 * @param {() => boolean} isOn whether single keys are used
 * @param {Record<Exclude<Action, "help">, () => void>} actions
 */
export function connectShortcuts(isOn, actions) {
  const dialog = element("#help", HTMLDialogElement);
  const help = () => dialog.showModal();
  element("#shortcuts", HTMLElement).append(...SHORTCUTS.flatMap(({ keys: [key], words }) => describe(key, words)));
  element("#open-help", HTMLButtonElement).addEventListener("click", help);
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    const isTyping = target instanceof HTMLElement && target.matches("input, select, textarea");
    const action = isOn() && !document.querySelector("dialog[open]") ? actionOf(event, { isTyping }) : null;
    if (!action) return;
    event.preventDefault();
    ({ ...actions, help })[action]();
  });
}

/** @param {string} key @param {string} words */
function describe(key, words) {
  const [term, description] = [document.createElement("dt"), document.createElement("dd")];
  const cap = document.createElement("kbd");
  cap.className = "kbd";
  cap.textContent = key.toUpperCase();
  term.append(cap);
  description.textContent = words;
  return [term, description];
}
