/**
 * The keys of the page. The table is what the dialog shows; pure, it listens to nothing.
 */

/**
 * @typedef {"toggle" | "fullScreen" | "larger" | "smaller" | "search" | "playLast" | "copy" | "settings" | "help"
 *   } Action
 */

/** @type {ReadonlyArray<{ action: Action, keys: readonly string[], words: string }>} */
export const SHORTCUTS = Object.freeze([
  { action: "toggle", keys: ["s"], words: "Start or stop captions" },
  { action: "fullScreen", keys: ["f"], words: "Large type on the full screen, and back" },
  { action: "larger", keys: ["+", "="], words: "Larger captions" },
  { action: "smaller", keys: ["-"], words: "Smaller captions" },
  { action: "search", keys: ["/"], words: "Search the transcript" },
  { action: "playLast", keys: ["p"], words: "Hear the last final again, or stop hearing" },
  { action: "copy", keys: ["c"], words: "Copy the transcript" },
  { action: "settings", keys: [","], words: "Settings" },
  { action: "help", keys: ["?"], words: "This list" },
]);

/**
 * What a key asks for; nothing while somebody types, or with a key that belongs to the browser.
 *
 * @param {{ key: string, ctrlKey: boolean, metaKey: boolean, altKey: boolean, repeat: boolean }} event
 * @param {{ isTyping: boolean }} where
 * @returns {Action | null}
 */
export function actionOf({ key, ctrlKey, metaKey, altKey, repeat }, { isTyping }) {
  if (isTyping || ctrlKey || metaKey || altKey || repeat) return null;
  return SHORTCUTS.find(({ keys }) => keys.includes(key.toLowerCase()))?.action ?? null;
}
