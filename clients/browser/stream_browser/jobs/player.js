/**
 * The audio of a recording that lies on this computer: play, seek, speed, and the time while it plays.
 *
 * It dispatches `time` (detail: milliseconds) twenty times a second while it plays, and when it is moved. It knows
 * neither words nor jobs. The file is never read here: the browser plays it from where it lies.
 */

import { formatClock } from "../shared/transcript.js";

/** A timer and no frame callback: that would have the page laid out sixty times a second, for three new words. */
const TICK_MS = 50;

export class Player extends EventTarget {
  #root;
  #audio;
  #play;
  #seek;
  #clock;
  #speed;
  #durationMs = 0;
  #address = "";
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;

  /** @param {HTMLElement} root with an audio element, a button, a range, a time and a select */
  constructor(root) {
    super();
    this.#root = root;
    this.#audio = /** @type {HTMLAudioElement} */ (root.querySelector("audio"));
    this.#play = /** @type {HTMLButtonElement} */ (root.querySelector(".play"));
    this.#seek = /** @type {HTMLInputElement} */ (root.querySelector(".seek"));
    this.#clock = /** @type {HTMLElement} */ (root.querySelector(".clock"));
    this.#speed = /** @type {HTMLSelectElement} */ (root.querySelector("select"));
    const audio = this.#audio;
    this.#play.addEventListener("click", () => this.toggle());
    this.#seek.addEventListener("input", () => this.seek(Number(this.#seek.value) * 1000));
    this.#speed.addEventListener("change", () => this.#setSpeed());
    audio.addEventListener("play", () => this.#begin());
    for (const name of ["pause", "ended"]) audio.addEventListener(name, () => this.#stop());
    for (const name of ["timeupdate", "seeked"]) audio.addEventListener(name, () => this.#show());
    audio.addEventListener("loadedmetadata", () => this.#measure());
    audio.addEventListener("error", () => {
      if (this.#address) this.dispatchEvent(new Event("unplayable"));
    });
  }

  get isPlaying() {
    return !this.#audio.paused;
  }

  get hasAudio() {
    return this.#address !== "";
  }

  get timeMs() {
    return this.#audio.currentTime * 1000;
  }

  /**
   * @param {File} file
   * @param {string} name
   * @param {number} durationMs as far as the transcript knows
   */
  load(file, name, durationMs) {
    this.unload();
    this.#address = URL.createObjectURL(file);
    this.#durationMs = durationMs;
    this.#audio.src = this.#address;
    this.#audio.setAttribute("aria-label", `Audio of ${name}`);
    this.#root.hidden = false;
    this.#setSpeed();
    this.#measure();
  }

  unload() {
    if (!this.#address) return;
    const address = this.#address;
    this.#address = "";
    this.#audio.pause();
    this.#stop(); // loading takes the event of the pause away
    this.#audio.removeAttribute("src");
    this.#audio.load();
    URL.revokeObjectURL(address);
    this.#root.hidden = true;
  }

  toggle() {
    if (!this.hasAudio) return;
    if (this.isPlaying) this.#audio.pause();
    else this.#start();
  }

  /**
   * @param {number} ms
   * @param {{ play?: boolean }} [options]
   */
  seek(ms, { play = false } = {}) {
    if (!this.hasAudio) return;
    this.#audio.currentTime = Math.min(Math.max(0, ms), this.#durationMs) / 1000;
    if (play && !this.isPlaying) this.#start();
    this.#show();
  }

  #start() {
    this.#audio.play().catch(() => {}); // what cannot be played says so by the event `error`
  }

  #begin() {
    this.#play.setAttribute("aria-label", "Pause");
    this.#root.dataset.playing = "";
    clearInterval(this.#ticking);
    this.#ticking = setInterval(() => this.dispatchEvent(new CustomEvent("time", { detail: this.timeMs })), TICK_MS);
  }

  #stop() {
    clearInterval(this.#ticking);
    this.#play.setAttribute("aria-label", "Play");
    delete this.#root.dataset.playing;
  }

  #measure() {
    const seconds = this.#audio.duration;
    if (Number.isFinite(seconds)) {
      const told = this.#durationMs;
      this.#durationMs = seconds * 1000;
      // A transcript of nothing has no length to compare with.
      if (told > 0 && Math.abs(told - this.#durationMs) > Math.max(2_000, told * 0.02)) {
        this.dispatchEvent(new Event("mismatch"));
      }
    }
    this.#seek.max = String(this.#durationMs / 1000);
    this.#show();
  }

  #setSpeed() {
    this.#audio.defaultPlaybackRate = this.#audio.playbackRate = Number(this.#speed.value);
  }

  #show() {
    const now = formatClock(this.timeMs);
    const whole = formatClock(this.#durationMs);
    this.#seek.value = String(this.#audio.currentTime);
    this.#seek.setAttribute("aria-valuetext", `${now} of ${whole}`);
    this.#clock.textContent = `${now} / ${whole}`;
    this.dispatchEvent(new CustomEvent("time", { detail: this.timeMs }));
  }
}
