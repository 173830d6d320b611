// The sound of a tab, a window or the whole system as a source. It does not know where the audio goes.

import { askForStream, CaptureError, stopTracks } from "./capture-error.js";
import { AUDIO, openStream } from "./stream-source.js";

const SUPPORT = "Chrome and Edge on a computer can share sound.";

/** @type {import("./capture-error.js").Explanations} */
const EXPLANATIONS = {
  NotAllowedError: [
    "PERMISSION_DENIED",
    "Nothing was shared. Start again and choose a tab; if you were not asked, allow the browser to record the screen" +
      " (the system's privacy settings).",
  ],
  SecurityError: [
    "PERMISSION_DENIED",
    'Sharing is forbidden here. A page that shows this one in a frame must allow it: allow="display-capture".',
  ],
  InvalidStateError: ["PERMISSION_DENIED", "Browsers share only right after a click. Click, and start again."],
  NotFoundError: ["NO_DEVICE", "There is nothing to share. Open the tab that plays the sound, then start again."],
  NotReadableError: ["IN_USE", "The system refuses to share this. Share a tab of the browser instead."],
  OverconstrainedError: ["UNSUPPORTED", "The browser cannot share sound in the way that was asked for."],
  AbortError: ["IN_USE", "The sharing did not start. Start again."],
  missing: ["UNSUPPORTED", `This browser cannot share what it plays. ${SUPPORT}`],
  "": ["UNSUPPORTED", "The browser could not share the sound."],
};

/**
 * @param {import("./stream-source.js").StreamOptions} [options]
 * @returns {Promise<import("./live-source.js").Source>}
 * @throws {import("./capture-error.js").CaptureError}
 */
export async function openDisplay(options = {}) {
  const { channels = 1, constraints, signal } = options;
  // The gain of what is played is its maker's. A picture must be asked for, and is let go at once.
  const audio = { ...AUDIO, autoGainControl: false, channelCount: channels, ...constraints };
  const request = { video: true, audio, systemAudio: "include" };
  const stream = await askForStream("getDisplayMedia", request, EXPLANATIONS, signal);
  if (!stream.getAudioTracks().length) {
    stopTracks(stream);
    throw new CaptureError(
      "NO_DEVICE",
      'No sound was shared. Start again, choose a tab and tick "Also share tab audio" (of a screen, "Also share' +
        ` system audio"). ${SUPPORT}`,
    );
  }
  for (const track of stream.getVideoTracks()) track.stop();
  return openStream("Shared sound", stream, options);
}
