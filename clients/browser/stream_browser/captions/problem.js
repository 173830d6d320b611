/**
 * What went wrong, told to whoever sits in front of it: a short title, what to do, and the next step. Pure.
 *
 * Errors of the capture say themselves what to do; those of the server are written for developers, so here are words
 * for them.
 */

/**
 * @typedef {object} Problem
 * @property {string} title
 * @property {string} text
 * @property {"retry" | "key" | "settings" | "reload" | ""} action what the button does
 */

/** @type {Readonly<Record<string, Problem>>} */
const PROBLEMS = Object.freeze({
  CONNECTION_FAILED: {
    title: "The server cannot be reached.",
    text: "Check that it runs, and that this computer is connected to it.",
    action: "retry",
  },
  CONNECTION_LOST: {
    title: "The connection was lost, and did not come back.",
    text: "What stands below is kept. Check the network, then go on.",
    action: "retry",
  },
  CAPACITY_FULL: { title: "The server is full.", text: "All its places are taken just now.", action: "retry" },
  RATE_LIMITED: { title: "The limit of this key is used up.", text: "", action: "retry" },
  SERVER_DRAINING: {
    title: "The server is shutting down.",
    text: "Try again in a moment: it will be back, or another one is.",
    action: "retry",
  },
  TIMEOUT: {
    title: "The session has reached its end.",
    text: "What was said is final. Go on in a new one.",
    action: "retry",
  },
  AUTH_FAILED: { title: "The server let nobody in.", text: "", action: "key" },
  MODEL_NOT_FOUND: { title: "The chosen model is not served.", text: "Choose another one.", action: "reload" },
  LANGUAGE_NOT_SUPPORTED: {
    title: "The model does not speak this language.",
    text: "Choose another one.",
    action: "retry",
  },
  SESSION_REPLACED: {
    title: "The session goes on elsewhere.",
    text: "Another connection has taken it over.",
    action: "retry",
  },
  BUFFER_FULL: {
    title: "The connection is too slow.",
    text: "Switch on Opus in the settings, then start again.",
    action: "settings",
  },
  INSECURE: { title: "This page may not record.", text: "", action: "" },
  UNSUPPORTED: { title: "This browser cannot do that.", text: "", action: "settings" },
  PERMISSION_DENIED: { title: "Recording is not allowed.", text: "", action: "retry" },
  NO_DEVICE: { title: "There is no sound to record.", text: "", action: "retry" },
  IN_USE: { title: "The sound cannot be opened.", text: "", action: "retry" },
  BAD_FILE: { title: "The file cannot be played.", text: "", action: "retry" },
});

/**
 * @param {unknown} error
 * @returns {Problem}
 */
export function problemOf(error) {
  const { code = "", message = String(error), retryAfter = 0 } = /** @type {any} */ (error ?? {});
  const known = speakerProblem(code, message) ?? PROBLEMS[code];
  if (!known) return { title: "Something went wrong.", text: sentence(message), action: "retry" };
  const wait = retryAfter ? `Try again in ${Math.ceil(retryAfter)} s.` : "";
  return { ...known, text: [known.text || sentence(message), wait].filter(Boolean).join(" ") };
}

/**
 * Where there is room, but not for telling speakers apart.
 *
 * @param {string} code
 * @param {string} message of the server, which says why
 * @returns {Problem | undefined} nothing where it is about something else
 */
function speakerProblem(code, message) {
  if (!message.includes("'diarize'")) return undefined;
  if (code === "CAPACITY_FULL") {
    return {
      title: "The server tells as many speakers apart as it can.",
      text: "With “Tell speakers apart” switched off there may be a place.",
      action: "settings",
    };
  }
  if (code !== "INVALID_INIT") return undefined;
  const reason = sentence(message.replace(/^field 'diarize': /, ""));
  return {
    title: "This server does not tell speakers apart.",
    text: `${reason} Switch “Tell speakers apart” off, then start again.`,
    action: "settings",
  };
}

/**
 * What the server warns of, in one line; empty when it is over.
 *
 * @param {{ code: string, message: string, level?: number, deadline_sec?: number }} warning
 */
export function warningOf({ code, message, level, deadline_sec }) {
  switch (code) {
    case "DEGRADED":
      return level === 0 ? "" : "The server has much to do: captions come less often. Nothing is left out.";
    case "BACKPRESSURE":
      return (level ?? 1) < 0.25 ? "" : "The server is behind: captions come late. Nothing is left out.";
    case "DRAINING": {
      const deadline = deadline_sec ? ` within ${Math.ceil(deadline_sec)} s` : "";
      return `The server shuts down${deadline}; captions go on with the next one.`;
    }
    default:
      return sentence(message);
  }
}

/** Messages of the protocol begin small and have no full stop. @param {string} text */
function sentence(text) {
  const trimmed = text.trim();
  if (!trimmed) return "";
  const begun = trimmed[0].toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
