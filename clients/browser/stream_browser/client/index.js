// Stream Server in the browser: everything public.

export { StreamClient } from "./client.js";
export { StreamError } from "./error.js";
export { CaptureError } from "./capture-error.js";
export { openDisplay } from "./display.js";
export { openFile } from "./file.js";
export { listMicrophones, openMicrophone } from "./microphone.js";

/** @typedef {import("./option.js").StreamOptions} StreamOptions */
/** @typedef {import("./option.js").StreamEventMap} StreamEventMap */
/** @typedef {import("./mending.js").ConnectionChange} ConnectionChange */
/** @typedef {import("./mending.js").ReconnectPolicy} ReconnectPolicy */
/** @typedef {import("./timeline.js").SessionEvent} SessionEvent */
/** @typedef {import("./live-source.js").Source} Source */
/** @typedef {import("./stream-source.js").StreamOptions} CaptureOptions */
/** @typedef {import("./file.js").FileOptions} FileOptions */
