/**
 * The page as a transparent overlay for streaming programs: the last lines of captions and nothing else. It starts by
 * itself, and again after every end; or it mirrors a caption page that runs in another window of this browser.
 */

import { mirror, stepsOf } from "./caption-feed.js";
import { CaptionView } from "./caption-view.js";
import { Captioning } from "./captioning.js";
import { Cast } from "./cast.js";
import { element } from "./element.js";
import { problemOf } from "./problem.js";

const ROWS = 4;
const GONE_MS = 8000; // captions leave when nothing follows for so long
const AGAIN_MS = 10_000; // after an end

/**
 * @param {import("./parameter.js").Parameters} parameters
 * @param {import("./live-api.js").LiveApi} api
 */
export function showOverlay(parameters, api) {
  const root = element("#captions", HTMLElement);
  root.style.setProperty("--lines", String(parameters.lines));
  root.style.setProperty("--size", `${parameters.size}px`);
  const view = new CaptionView(root, ROWS);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let leaving;
  const screen = {
    apply: (/** @type {import("./caption-feed.js").Step} */ step) => {
      if (step.kind === "show") tell(parameters.problems.join(" "));
      view.apply(step);
      if (step.kind === "revise") return;
      clearTimeout(leaving);
      leaving = setTimeout(() => view.clear(), GONE_MS);
    },
  };
  if (parameters.overlay === "mirror") {
    tell(parameters.problems.join(" ") || "Waiting for captions: start them in another window of this browser.");
    mirror(screen);
  } else {
    tell(parameters.problems.join(" "));
    caption(parameters, api, screen);
  }
}

/**
 * @param {import("./parameter.js").Parameters} parameters
 * @param {import("./live-api.js").LiveApi} api
 * @param {import("./caption-feed.js").Screen} screen
 */
function caption({ source, language, model, diarize, problems }, api, screen) {
  const cast = new Cast();
  const captioning = new Captioning(api, { onLevel: () => {} });
  const start = () =>
    captioning.start({
      source: source === "display" ? "display" : "microphone",
      file: null,
      deviceId: "",
      channels: 1,
      opus: false,
      language: language ?? "auto",
      model: model ?? "",
      diarize,
      keepAudio: false,
    });
  captioning.addEventListener("change", (event) => {
    const change = /** @type {CustomEvent<import("./caption-state.js").Change>} */ (event).detail;
    for (const step of stepsOf(change, cast, captioning.state.channels)) screen.apply(step);
  });
  captioning.addEventListener("phase", (event) => {
    const phase = /** @type {CustomEvent} */ (event).detail;
    if (phase === "open") tell(problems.join(" "));
    if (phase === "idle") setTimeout(start, AGAIN_MS); // an error, or a microphone that has gone
  });
  captioning.addEventListener("failed", (event) => {
    const { title, text } = problemOf(/** @type {CustomEvent} */ (event).detail);
    tell(`${title} ${text}`);
  });
  addEventListener("pagehide", () => captioning.close());
  start();
}

/** @param {string} words empty for none */
function tell(words) {
  const notice = element("#notice", HTMLElement);
  if (notice.hidden && !words) return;
  /** @type {HTMLElement} */ (notice.querySelector("strong")).textContent = words;
  for (const button of notice.querySelectorAll("button")) button.hidden = true;
  notice.hidden = !words;
}
