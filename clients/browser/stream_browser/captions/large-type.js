/**
 * Captions alone, in large type on the whole screen, and the size of captions. Where the browser gives no full screen
 * (phones), they fill the window. It does not know what is shown.
 */

import { element } from "./element.js";
import { nextSize } from "./setting.js";

const QUIET_MS = 3000; // then the buttons go, until somebody moves

export class LargeType {
  #root = document.documentElement;
  #stage = element("#stage", HTMLElement);
  #button = element("#full-screen", HTMLButtonElement);
  #settings;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {import("./setting.js").Settings} settings */
  constructor(settings) {
    this.#settings = settings;
    this.#showSize();
    this.#button.addEventListener("click", () => this.toggle());
    element("#larger", HTMLButtonElement).addEventListener("click", () => this.resize(1));
    element("#smaller", HTMLButtonElement).addEventListener("click", () => this.resize(-1));
    document.addEventListener("fullscreenchange", () => {
      if (!document.fullscreenElement) this.#leave();
    });
    document.addEventListener("keydown", ({ key }) => {
      if (key === "Escape" && this.isOn) this.toggle();
    });
    for (const name of ["pointermove", "pointerdown", "keydown", "focusin"]) {
      this.#stage.addEventListener(name, () => this.#stir(), { passive: true });
    }
  }

  get isOn() {
    return "large" in this.#root.dataset;
  }

  toggle() {
    if (!this.isOn) return this.#enter();
    if (document.fullscreenElement) void document.exitFullscreen();
    else this.#leave();
  }

  /** @param {1 | -1} step */
  resize(step) {
    this.#settings.change({ captionSize: nextSize(this.#settings.values.captionSize, step) });
    this.#showSize();
  }

  #showSize() {
    this.#root.style.setProperty("--caption-scale", String(this.#settings.values.captionSize));
  }

  #enter() {
    this.#root.dataset.large = "";
    this.#button.setAttribute("aria-pressed", "true");
    this.#setOthersInert(true);
    this.#stage.requestFullscreen?.({ navigationUI: "hide" }).catch(() => {}); // the window is filled already
    this.#stir();
  }

  #leave() {
    clearTimeout(this.#timer);
    delete this.#root.dataset.large;
    delete this.#stage.dataset.quiet;
    this.#button.setAttribute("aria-pressed", "false");
    this.#setOthersInert(false);
  }

  /** What lies behind cannot be reached. @param {boolean} isInert */
  #setOthersInert(isInert) {
    const others = document.querySelectorAll("body > header, main > :not(#stage, h1)");
    for (const other of others) other.toggleAttribute("inert", isInert);
  }

  #stir() {
    if (!this.isOn) return;
    clearTimeout(this.#timer);
    delete this.#stage.dataset.quiet;
    this.#timer = setTimeout(() => (this.#stage.dataset.quiet = ""), QUIET_MS);
  }
}
