/**
 * The result of one job: its text, its audio, search, copy and downloads, brought together.
 *
 * It is given a result and, where there is one, a file. It does not know how they were got.
 */

import { offerFile } from "../shared/download.js";
import { readResult } from "./job-result.js";
import { stemOf } from "./job-state.js";
import { languageName } from "../shared/language-name.js";
import { Player } from "./player.js";
import { ResultText } from "./result-text.js";
import { Speakers } from "../shared/speaker.js";
import { FORMATS, formatClock, writeText } from "../shared/transcript.js";

const STEP_MS = 5_000;
/** A long text is searched when the typing pauses. */
const TYPING_MS = 150;

/** @typedef {import("../shared/transcript.js").Segment} Segment */
/** @typedef {keyof typeof FORMATS} Format */

export class ResultView {
  #root;
  #say;
  #player;
  #text;
  #name = "";
  #durationMs = 0;
  /** @type {readonly Segment[]} */
  #segments = [];

  /**
   * @param {HTMLElement} root the region
   * @param {object} hooks
   * @param {(words: string) => void} hooks.say tells what was done
   * @param {(file: File) => void} hooks.onFile the file was chosen again
   */
  constructor(root, { say, onFile }) {
    this.#root = root;
    this.#say = say;
    this.#player = new Player(this.#part("#player"));
    this.#text = new ResultText(this.#part("#segments"));
    this.#connectPlayer();
    this.#connectSearch();
    this.#connectTools();
    const input = document.createElement("input");
    input.type = "file";
    input.accept = "audio/*,video/*";
    this.#part("#again").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      const file = input.files?.[0];
      input.value = "";
      if (!file) return;
      onFile(file);
      this.#load(file);
    });
  }

  /** The frame of a result that is being fetched. @param {string} name */
  open(name) {
    this.close();
    this.#name = name;
    this.#root.setAttribute("aria-label", name);
    this.#part("#result-title").textContent = name;
    this.#part("#loading").hidden = false;
    this.#root.hidden = false;
  }

  /**
   * @param {any} job with its result
   * @param {File | null} file
   * @param {string} [reason] what is missing from it
   */
  show(job, file, reason = "") {
    this.#part("#loading").hidden = true;
    const { segments, durationMs, language } = readResult(job.result);
    const speakers = new Speakers();
    const spoken = segments.map(({ speaker }) => speakers.of({ speaker, channel: 0, channels: 1 }));
    this.#segments = segments.map((segment, at) => ({ ...segment, language, speaker: spoken[at]?.name ?? null }));
    this.#durationMs = durationMs;
    this.#text.show(segments, spoken);
    this.#part("#silence").hidden = segments.length > 0;
    this.#part("#missing-part").hidden = !reason;
    this.#part("#missing-part").textContent = reason;
    this.#part("#result-about").textContent = about(segments, durationMs, language);
    const hasDoubt = segments.some((segment) => segment.words.length > 0);
    /** @type {HTMLInputElement} */ (this.#part("#doubt")).disabled = !hasDoubt;
    if (file) this.#load(file);
    else if (segments.length > 0) this.#miss("The audio is not here any more. Choose the file again to hear it.");
  }

  close() {
    this.#player.unload();
    this.#text.show([], []);
    this.#segments = [];
    for (const part of ["#missing", "#missing-part", "#silence", "#loading", "#follow"]) this.#part(part).hidden = true;
    this.#part("#result-about").textContent = "";
    /** @type {HTMLInputElement} */ (this.#part("#search")).value = "";
    this.#search();
    this.#root.hidden = true;
  }

  /** A key was pressed that nobody else wants. @param {KeyboardEvent} event */
  press(event) {
    const ms = this.#player.timeMs;
    if (!this.#player.hasAudio) return;
    if (event.key === " ") this.#player.toggle();
    else if (event.key === "ArrowLeft") {
      this.#player.seek(event.shiftKey ? this.#text.neighbour(ms, -1) ?? 0 : ms - STEP_MS);
    } else if (event.key === "ArrowRight") {
      this.#player.seek(event.shiftKey ? this.#text.neighbour(ms, 1) ?? ms : ms + STEP_MS);
    } else return;
    event.preventDefault();
  }

  #connectPlayer() {
    const follow = this.#part("#follow");
    this.#player.addEventListener("time", (event) => {
      this.#text.hear(/** @type {CustomEvent<number>} */ (event).detail, this.#player.isPlaying);
    });
    this.#player.addEventListener("unplayable", () => {
      this.#player.unload();
      this.#miss("This browser cannot play this file. Choose the same recording in another format, such as mp3.");
    });
    this.#player.addEventListener("mismatch", () => {
      this.#miss("This file is not as long as the recording of the transcript: the words may not fit it.");
    });
    this.#text.addEventListener("seek", (event) => {
      const ms = /** @type {CustomEvent<number>} */ (event).detail;
      if (this.#player.hasAudio) this.#player.seek(ms, { play: true });
      else this.#say("The audio is not here: choose the file to hear it.");
    });
    this.#text.addEventListener("away", (event) => {
      follow.hidden = !(/** @type {CustomEvent<boolean>} */ (event).detail && this.#player.isPlaying);
    });
    follow.addEventListener("click", () => this.#text.follow());
  }

  #connectSearch() {
    const search = this.#part("#search");
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let typing;
    search.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.#search(), TYPING_MS);
    });
    search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.#choose(event.shiftKey ? -1 : 1);
    });
    this.#part("#found-next").addEventListener("click", () => this.#choose(1));
    this.#part("#found-before").addEventListener("click", () => this.#choose(-1));
  }

  #search() {
    const query = /** @type {HTMLInputElement} */ (this.#part("#search")).value;
    const count = this.#text.search(query);
    this.#part("#found").textContent = query.trim() ? (count ? `${count}` : "none") : "";
    this.#part("#found").dataset.count = String(count);
    for (const button of ["#found-next", "#found-before"]) {
      /** @type {HTMLButtonElement} */ (this.#part(button)).disabled = count === 0;
    }
  }

  /** @param {1 | -1} step */
  #choose(step) {
    const number = this.#text.choose(step);
    if (number) this.#part("#found").textContent = `${number} of ${this.#part("#found").dataset.count}`;
  }

  #connectTools() {
    this.#part("#copy").addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(writeText(this.#segments));
        this.#say("Copied.");
      } catch {
        this.#say("The browser did not allow it; select the text, or download it.");
      }
    });
    const menu = /** @type {HTMLDetailsElement} */ (this.#part("#download"));
    menu.addEventListener("click", ({ target }) => {
      const button = target instanceof Element ? target.closest("button") : null;
      if (!button) return;
      const ending = /** @type {Format} */ (button.dataset.format);
      const { type, write } = FORMATS[ending];
      offerFile(`${stemOf(this.#name)}.${ending}`, type, write(this.#segments));
      menu.open = false;
      /** @type {HTMLElement} */ (menu.querySelector("summary")).focus();
    });
    const doubt = /** @type {HTMLInputElement} */ (this.#part("#doubt"));
    const mark = () => this.#root.toggleAttribute("data-doubt", doubt.checked);
    doubt.addEventListener("change", mark);
    mark();
  }

  /** @param {File} file */
  #load(file) {
    this.#part("#missing").hidden = true;
    this.#player.load(file, this.#name, this.#durationMs);
  }

  /** @param {string} words */
  #miss(words) {
    this.#part("#missing").hidden = false;
    this.#part("#missing .notice-text").textContent = words;
  }

  /** @param {string} selector */
  #part(selector) {
    return /** @type {HTMLElement} */ (this.#root.querySelector(selector));
  }
}

/** @param {readonly Segment[]} segments @param {number} durationMs @param {string} language */
function about(segments, durationMs, language) {
  const words = segments.reduce((sum, segment) => sum + segment.text.split(/\s+/).filter(Boolean).length, 0);
  const counted = `${words.toLocaleString("en")} ${words === 1 ? "word" : "words"}`;
  return [formatClock(durationMs), counted, languageName(language)].filter(Boolean).join(" · ");
}
