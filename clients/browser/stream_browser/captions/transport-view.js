/**
 * The bar with the one button: start and stop, whether somebody speaks, and how long it has run. The hint on the empty
 * stage belongs to it, because it says what the button does.
 */

import { element } from "./element.js";
import { formatClock } from "../shared/transcript.js";

/** @type {Readonly<Record<import("./parameter.js").SourceKind, string>>} */
const HINTS = Object.freeze({
  microphone: "Start captions, and allow the microphone when the browser asks. What you say appears here.",
  display: "Start captions, choose a tab or a screen, and share its sound with it. What is played appears here.",
  file: "Start captions and choose a recording. It is played, and what is said appears here.",
});

const LISTENING = "Listening. The first words appear as soon as somebody speaks.";

export class TransportView {
  #root = element("#transport", HTMLElement);
  #start = element("#start", HTMLButtonElement);
  #label = /** @type {HTMLElement} */ (this.#start.querySelector("span"));
  #voice = element("#voice", HTMLElement);
  #elapsed = element("#elapsed", HTMLElement);
  #hintText = element("#hint-text", HTMLElement);
  #heardMs;
  #isRunning = false;
  #source = /** @type {import("./parameter.js").SourceKind} */ ("microphone");
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;

  /** @param {() => number} heardMs @param {() => void} onToggle */
  constructor(heardMs, onToggle) {
    this.#heardMs = heardMs;
    this.#start.addEventListener("click", onToggle);
  }

  /**
   * While it stops the button waits for the last words, unless the connection is away: then it may be pressed once more.
   * @param {import("./captioning.js").Phase} phase
   * @param {boolean} isAway
   */
  showPhase(phase, isAway) {
    this.#isRunning = phase === "open";
    const isIdle = phase === "idle";
    this.#start.classList.toggle("primary", isIdle);
    this.#start.classList.toggle("danger", !isIdle);
    this.#root.toggleAttribute("data-running", !isIdle);
    this.#start.disabled = phase === "stopping" && !isAway;
    this.#label.textContent = isIdle ? "Start captions" : "Stop captions";
    clearInterval(this.#ticking);
    this.#showHint();
    if (this.#isRunning) {
      this.#ticking = setInterval(() => this.#showElapsed(), 1000);
      this.#showElapsed();
    }
    this.showSpeech(false);
  }

  /** @param {boolean} isSpeech */
  showSpeech(isSpeech) {
    this.#voice.dataset.active = String(isSpeech);
    const words = isSpeech ? "Speech" : this.#isRunning ? "Silence" : "Not listening";
    /** @type {HTMLElement} */ (this.#voice.lastElementChild).textContent = words;
  }

  /** @param {import("./parameter.js").SourceKind} source */
  showSource(source) {
    this.#source = source;
    this.#showHint();
  }

  #showHint() {
    this.#hintText.textContent = this.#isRunning ? LISTENING : HINTS[this.#source];
  }

  #showElapsed() {
    const text = formatClock(this.#heardMs());
    if (this.#elapsed.textContent !== text) this.#elapsed.textContent = text;
  }
}
