/**
 * What has gone wrong, in words for whoever chose the file: the server's message as a sentence, and what to do.
 *
 * It knows the server's reasons (docs/http-api.md, Errors), and neither jobs nor the page.
 */

/**
 * @typedef {object} Problem
 * @property {string} code one of the server's reasons, or one of the page's: NETWORK, EMPTY, NOT_AUDIO
 * @property {string} message what is the matter
 * @property {string} advice what to do; empty where the message says it
 */

/** @type {Record<string, string>} */
const ADVICE = {
  UNSUPPORTED_FORMAT: "Choose another file: its content counts, not the end of its name.",
  FILE_TOO_LARGE: "Save it as mp3 or m4a, or cut it into parts.",
  AUDIO_TOO_LONG: "Cut it into parts.",
  URL_REFUSED: "Give an address that begins with https:// and is open to everyone, or download the file and choose it.",
  URL_FAILED: "See whether the address opens in a browser, or download the file and choose it.",
  UPLOAD_INCOMPLETE: "See whether you are connected, and try again.",
  UNAUTHORIZED: "Try again, and give a key when asked.",
  FORBIDDEN: "Use a key with the scope “transcribe”.",
  FEATURE_UNAVAILABLE: "Leave it out and choose the file again, or ask whoever runs the server.",
  NOT_FOUND: "It may have been deleted, or belong to another key.",
  RATE_LIMITED: "Wait a little, and try again.",
  SERVICE_UNAVAILABLE: "Wait a little, and try again.",
  TIMEOUT: "Try again.",
  INTERNAL: "Try again; if it happens again, tell whoever runs the server.",
  NETWORK: "See whether you are connected and the server runs, and try again.",
  EMPTY: "Choose the file again once it has been written in full.",
  NOT_AUDIO: "Choose a recording, such as wav, mp3, m4a, flac, ogg, webm or mp4.",
};

/**
 * @param {{ code: string, message: string }} fault of the server, or of `JobApi`
 * @returns {Problem}
 */
export function problemOf({ code, message }) {
  return { code, message: sentence(message), advice: ADVICE[code] ?? "" };
}

/**
 * The server's messages begin small and end without a full stop, as parts of longer ones.
 * @param {string} text
 */
function sentence(text) {
  const trimmed = text.trim();
  if (!trimmed) return "The server did not say why.";
  const begun = trimmed[0].toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
