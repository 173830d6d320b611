// The microphone as a source of audio, and which ones there are. It does not know where the audio goes.

import { askForStream } from "./capture-error.js";
import { AUDIO, openStream } from "./stream-source.js";

/** @type {import("./capture-error.js").Explanations} */
const EXPLANATIONS = {
  NotAllowedError: [
    "PERMISSION_DENIED",
    "The microphone is blocked. Allow it for this page (the icon beside the address) and for the browser (the" +
      " system's privacy settings), then start again.",
  ],
  SecurityError: [
    "PERMISSION_DENIED",
    'The microphone is forbidden here. A page that shows this one in a frame must allow it: allow="microphone".',
  ],
  NotFoundError: ["NO_DEVICE", "There is no microphone. Connect one, or choose another source, then start again."],
  OverconstrainedError: ["NO_DEVICE", "The chosen microphone is not connected. Connect it, or choose another one."],
  NotReadableError: [
    "IN_USE",
    "The microphone cannot be opened: another program may hold it. Close that program, then start again.",
  ],
  AbortError: ["IN_USE", "The microphone did not start. Unplug it and plug it in again, then start again."],
  InvalidStateError: ["CANCELLED", "The page was left before the microphone was open."],
  missing: ["UNSUPPORTED", "This browser gives pages no microphone. Update it, or use another browser."],
  "": ["UNSUPPORTED", "The browser could not open the microphone."],
};

/**
 * @param {import("./stream-source.js").StreamOptions & { deviceId?: string }} [options]
 * @returns {Promise<import("./live-source.js").Source>}
 * @throws {import("./capture-error.js").CaptureError}
 */
export async function openMicrophone(options = {}) {
  const { deviceId, channels = 1, constraints, signal } = options;
  const device = deviceId ? { deviceId: { exact: deviceId } } : {};
  const audio = { ...AUDIO, channelCount: channels, ...device, ...constraints };
  return openStream("", await askForStream("getUserMedia", { audio }, EXPLANATIONS, signal), options);
}

/**
 * The microphones that the page may know of: none, or one without a name, before the first permission.
 *
 * @returns {Promise<{ deviceId: string, label: string }[]>}
 */
export async function listMicrophones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices
    .filter(({ kind, deviceId }) => kind === "audioinput" && deviceId)
    .map(({ deviceId, label }, at) => ({ deviceId, label: label || `Microphone ${at + 1}` }));
}
