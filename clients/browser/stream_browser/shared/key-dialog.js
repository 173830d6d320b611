/**
 * Asks for an API key, and keeps it as long as the tab is open. It does not know what the key is for.
 */

const PLACE = "stream-server.key";

/** The key that was given before in this tab; empty if there was none. */
export function keptKey() {
  try {
    return sessionStorage.getItem(PLACE) ?? "";
  } catch {
    return ""; // storage is forbidden: ask in every visit
  }
}

/**
 * @param {HTMLDialogElement} dialog with a form (method="dialog"), an input and a .key-problem
 * @param {string} refused the key that was not good; empty if none was given
 * @returns {Promise<string | null>} null where somebody has none
 */
export function askForKey(dialog, refused) {
  const input = /** @type {HTMLInputElement} */ (dialog.querySelector("input"));
  const problem = /** @type {HTMLElement} */ (dialog.querySelector(".key-problem"));
  problem.hidden = !refused;
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const key = dialog.returnValue === "give" ? input.value.trim() : "";
      if (key) keep(key);
      resolve(key || null);
    }, { once: true });
  });
}

/** @param {string} key */
function keep(key) {
  try {
    sessionStorage.setItem(PLACE, key);
  } catch {
    // then it is good for this page
  }
}
