/**
 * What can be done with the whole transcript: copy it, download it, clear it. It asks for the segments when it needs
 * them, and does not know where they are.
 */

import { offerFile } from "../shared/download.js";
import { element } from "./element.js";
import { FORMATS } from "../shared/transcript.js";

/** @typedef {import("../shared/transcript.js").Segment} Segment */

/**
 * @param {object} parts
 * @param {() => Segment[]} parts.segments with speakers as they are to be read
 * @param {(words: string) => void} parts.tell a short word to the visitor
 * @param {() => void} parts.onClear
 * @returns {{ copy: () => Promise<void> }}
 */
export function connectTools({ segments, tell, onClear }) {
  const copy = async () => {
    const said = segments();
    if (!said.length) return tell("There is nothing to copy yet.");
    try {
      await navigator.clipboard.writeText(FORMATS.txt.write(said));
      tell("Copied.");
    } catch {
      tell("The browser did not let the page copy. Download the text instead.");
    }
  };
  element("#copy", HTMLButtonElement).addEventListener("click", () => void copy());
  connectDownload(segments, tell);

  const dialog = element("#confirm-clear", HTMLDialogElement);
  element("#clear", HTMLButtonElement).addEventListener("click", () => {
    if (!segments().length) return tell("There is nothing to clear.");
    dialog.returnValue = "";
    dialog.showModal();
  });
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "clear") onClear();
  });
  return { copy };
}

/** @param {() => Segment[]} segments @param {(words: string) => void} tell */
function connectDownload(segments, tell) {
  const menu = element("#download", HTMLDetailsElement);
  const summary = /** @type {HTMLElement} */ (menu.querySelector("summary"));
  for (const button of menu.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      menu.open = false;
      const ending = /** @type {keyof FORMATS} */ (button.dataset.format);
      const said = segments();
      if (!said.length) return tell("There is nothing to download yet.");
      const { type, write } = FORMATS[ending];
      offerFile(`captions-${localStamp(new Date())}.${ending}`, type, write(said));
    });
  }
  document.addEventListener("click", ({ target }) => {
    if (menu.open && target instanceof Node && !menu.contains(target)) menu.open = false;
  });
  menu.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape" || !menu.open) return;
    menu.open = false;
    summary.focus();
  });
}

/** Such as 2026-01-31-0907, in the visitor's own time. @param {Date} date */
function localStamp(date) {
  const parts = [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((part) => String(part).padStart(2, "0"));
  const clock = [date.getHours(), date.getMinutes()].map((part) => String(part).padStart(2, "0"));
  return `${parts.join("-")}-${clock.join("")}`;
}
