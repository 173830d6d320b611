// Why no audio can be had, in words for the person in front of the browser. It knows no devices.

/**
 * @typedef {"INSECURE" | "UNSUPPORTED" | "PERMISSION_DENIED" | "NO_DEVICE" | "IN_USE" | "CANCELLED" | "BAD_FILE"} Code
 * @typedef {Record<string, [Code, string]>} Explanations by the name of the browser's exception; "" for all others
 */

/** There is no audio; `message` says what to do, for people to read. */
export class CaptureError extends Error {
  /** @param {Code} code @param {string} message @param {unknown} [cause] the browser's own exception */
  constructor(code, message, cause) {
    super(message, { cause });
    this.name = "CaptureError";
    this.code = code;
  }
}

/** @param {AbortSignal} [signal] */
export function throwIfCancelled(signal) {
  if (signal?.aborted) throw new CaptureError("CANCELLED", "Cancelled before it began.");
}

/**
 * Ask the browser for a stream. A prompt that is open cannot be closed, so `signal` is looked at when it was answered.
 *
 * @param {"getUserMedia" | "getDisplayMedia"} method
 * @param {object} constraints
 * @param {Explanations} explanations
 * @param {AbortSignal} [signal]
 * @returns {Promise<MediaStream>}
 */
export async function askForStream(method, constraints, explanations, signal) {
  throwIfCancelled(signal);
  if (!globalThis.isSecureContext) {
    const advice = "Open this page with https://, or as http://localhost on the machine of the server.";
    throw new CaptureError("INSECURE", `Browsers let only secure pages record. ${advice}`);
  }
  if (!navigator.mediaDevices?.[method]) throw new CaptureError(...explanations.missing);
  try {
    const stream = await navigator.mediaDevices[method](constraints);
    if (!signal?.aborted) return stream;
    stopTracks(stream);
  } catch (error) {
    throwIfCancelled(signal);
    const name = error instanceof Error || error instanceof DOMException ? error.name : "";
    const [code, message] = explanations[name] ?? explanations[""];
    throw new CaptureError(code, `${message}${name in explanations ? "" : ` (${error})`}`, error);
  }
  throwIfCancelled(signal);
  throw new Error("unreachable");
}

/** @param {MediaStream} stream */
export function stopTracks(stream) {
  for (const track of stream.getTracks()) track.stop();
}
