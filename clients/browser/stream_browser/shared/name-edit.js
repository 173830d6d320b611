/**
 * Another name for somebody, written where the name stands: the button with it becomes a field, until Enter, Escape, or
 * until something else is chosen. It does not know who has which name.
 */

import { NAME_CHARS } from "./speaker.js";

/**
 * @param {HTMLButtonElement} button with the name
 * @param {(name: string) => void} onName empty for the name that there was at first
 */
export function editName(button, onName) {
  const input = document.createElement("input");
  input.className = "input name-edit";
  input.maxLength = NAME_CHARS;
  input.autocomplete = "off";
  input.spellcheck = false;
  input.value = button.textContent ?? "";
  input.setAttribute("aria-label", `Name of ${input.value}`);
  const leave = (/** @type {boolean} */ isMeant) => {
    if (button.isConnected && !button.hidden) return; // over already: removing it blurs it
    const hadFocus = document.activeElement === input;
    const isOther = input.value !== button.textContent;
    button.hidden = false;
    input.remove();
    if (hadFocus) button.focus({ preventScroll: true });
    if (isMeant && isOther) onName(input.value);
  };
  input.addEventListener("blur", () => leave(true));
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") leave(true);
    else if (event.key === "Escape") leave(false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  button.hidden = true;
  button.after(input);
  input.focus({ preventScroll: true });
  input.select();
}
