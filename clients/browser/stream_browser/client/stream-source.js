// A source made of a media stream that the user has allowed. It does not know how the stream was asked for.

import { Capture } from "./capture.js";
import { stopTracks } from "./capture-error.js";
import { LiveSource } from "./live-source.js";
import { Recorder } from "./recorder.js";

/**
 * @typedef {object} StreamOptions
 * @property {"pcm" | "opus"} [codec] "opus": 32 kbit/s for narrow links
 * @property {number} [channels] 1: what is recorded is mixed to one; each channel gets captions of its own
 * @property {(level: import("./capture.js").Level) => void} [onLevel] about 12 times a second
 * @property {MediaTrackConstraints} [constraints] go over the defaults, such as `{ noiseSuppression: true }`
 * @property {AbortSignal} [signal] gives up the opening; a source that is open is stopped by its `stop`
 */

// Speech recognizers are trained with noise, and miss what its suppression cuts off: soft beginnings and ends of words.
// An echo canceller swallows who speaks while something plays. The gain stays: it changes only how loud all is, and
// lifts a faint microphone to where speech is found.
export const AUDIO = { echoCancellation: false, noiseSuppression: false, autoGainControl: true };

/**
 * @param {string} label
 * @param {MediaStream} stream
 * @param {StreamOptions} options
 * @returns {Promise<LiveSource>}
 */
export async function openStream(label, stream, options) {
  const [track] = stream.getAudioTracks();
  /** @type {Capture | undefined} */ let capture;
  try {
    const audio = new MediaStream([track]);
    const recorder = options.codec === "opus" ? new Recorder(audio) : undefined;
    capture = await Capture.open(options);
    const node = capture.context.createMediaStreamSource(audio);
    const source = new LiveSource(label || track.label, capture, { node, recorder, release: () => stopTracks(stream) });
    track.addEventListener("ended", () => source.end());
    if (track.readyState === "ended") source.end();
    return source;
  } catch (error) {
    stopTracks(stream);
    await capture?.stop();
    throw error;
  }
}
