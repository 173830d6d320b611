/**
 * The caption page as a whole: joins what captions (Captioning) to what shows it, and the visitor's clicks to both.
 * What each part does, the parts know.
 */

import { keepAwake } from "./awake.js";
import { CaptionFeed, ROWS, stepsOf } from "./caption-feed.js";
import { CaptionView } from "./caption-view.js";
import { Captioning } from "./captioning.js";
import { Cast } from "./cast.js";
import { ChoiceView } from "./choice-view.js";
import { Draft } from "./draft.js";
import { element } from "./element.js";
import { LargeType } from "./large-type.js";
import { LevelView } from "./level-view.js";
import { NoticeView } from "../shared/notice-view.js";
import { problemOf } from "./problem.js";
import { Replay } from "./replay.js";
import { SearchView } from "./search-view.js";
import { Settings } from "./setting.js";
import { connectSettings } from "./settings-dialog.js";
import { connectShortcuts } from "./shortcut-help.js";
import { StatusView } from "./status-view.js";
import { TimelineView } from "./timeline-view.js";
import { connectTools } from "./transcript-tool.js";
import { TransportView } from "./transport-view.js";

/** @typedef {import("./caption-state.js").Change} Change */
/** @typedef {import("./caption-state.js").Final} Final */

const TOAST_MS = 2500;

export class CaptionPage {
  #api;
  #settings = new Settings(storage("localStorage"));
  #draft = new Draft(storage("sessionStorage"));
  #cast = new Cast(this.#draft.names);
  #feed = new CaptionFeed([new CaptionView(element("#captions", HTMLElement), ROWS)]);
  #notice = new NoticeView(element("#notice", HTMLElement));
  #level = new LevelView(element("#level", HTMLElement));
  #toast = element("#toast", HTMLElement);
  #file = element("#file", HTMLInputElement);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #toasting;
  #captioning;
  #choice;
  #status;
  #timeline;
  #search;
  #replay;
  #transport;
  #openSettings;
  #largeType;

  /**
   * @param {import("./parameter.js").Parameters} parameters
   * @param {import("./live-api.js").LiveApi} api
   */
  constructor({ source, language, model, problems }, api) {
    this.#api = api;
    const settings = this.#settings;
    const wanted = {
      source: source ?? settings.values.source,
      language: language ?? settings.values.language,
      model: model ?? settings.values.model,
    };
    this.#choice = new ChoiceView(wanted, (chosen) => {
      settings.change(chosen);
      this.#transport.showSource(chosen.source);
    });
    this.#replay = new Replay((id) => this.#timeline.setPlaying(id));
    this.#timeline = new TimelineView({
      list: element("#finals", HTMLElement),
      scroller: element("#scroller", HTMLElement),
      latest: element("#latest", HTMLButtonElement),
      onPlay: (id) => this.#play(id),
      onRename: (key, name) => this.#rename(key, name),
    });
    this.#search = new SearchView(
      element("#search", HTMLInputElement),
      element("#found", HTMLElement),
      element("#finals", HTMLElement),
      () => this.#timeline.entries,
    );
    this.#captioning = new Captioning(api, {
      onLevel: ({ rms }) => this.#level.show(rms, performance.now()),
      onClipGone: (id) => this.#timeline.setAudio(id, false),
    });
    this.#status = new StatusView(
      {
        chip: element("#connection", HTMLElement),
        line: element("#status", HTMLElement),
        counter: element("#counter", HTMLElement),
        latency: element("#latency", HTMLElement),
      },
      () => this.#captioning.forgetConnection(),
    );
    this.#transport = new TransportView(() => this.#captioning.heardMs, () => this.#toggle());
    this.#transport.showSource(wanted.source);
    this.#openSettings = connectSettings(settings);
    this.#largeType = new LargeType(settings);
    this.#listen();
    this.#connectActions();
    this.#restore();
    if (problems.length) this.#tell(problems.join(" "));
    void this.#loadModels();
  }

  #listen() {
    /** @param {string} name @param {(detail: any) => void} then */
    const on = (name, then) => {
      this.#captioning.addEventListener(name, (event) => then(/** @type {CustomEvent} */ (event).detail));
    };
    on("change", (change) => this.#change(change));
    on("connection", (connection) => {
      this.#status.showConnection(connection);
      if (this.#captioning.phase === "stopping") this.#showPhase("stopping");
    });
    on("warning", (words) => this.#status.showWarning(words));
    on("latency", (latency) => this.#status.showLatency(latency));
    on("speech", (isSpeech) => this.#transport.showSpeech(isSpeech));
    on("gone", (source) => this.#tellGone(source));
    on("failed", (error) => this.#fail(error));
    on("phase", (phase) => {
      this.#showPhase(phase);
      this.#choice.lock(phase !== "idle");
      keepAwake(phase === "open");
      if (phase === "connecting") this.#notice.hide();
      if (phase === "idle") this.#level.rest();
    });
    addEventListener("pagehide", () => this.#captioning.close());
    addEventListener("beforeunload", (event) => {
      if (this.#captioning.phase !== "idle") event.preventDefault();
    });
  }

  #connectActions() {
    const { copy } = connectTools({
      segments: () => this.#captioning.state.finals.flatMap((final) => this.#cast.segmentsOf(final)),
      tell: (words) => this.#tell(words),
      onClear: () => this.#clear(),
    });
    const largeType = this.#largeType;
    connectShortcuts(() => this.#settings.values.shortcuts, {
      toggle: () => this.#toggle(),
      fullScreen: () => largeType.toggle(),
      larger: () => largeType.resize(1),
      smaller: () => largeType.resize(-1),
      search: () => element("#search", HTMLInputElement).focus(),
      copy: () => void copy(),
      playLast: () => this.#playLast(),
      settings: () => void this.#openSettings(),
    });
    this.#file.addEventListener("change", () => {
      const [file] = this.#file.files ?? [];
      if (file) this.#start(file);
      this.#file.value = ""; // the same file may be chosen again
    });
  }

  #toggle() {
    const phase = this.#captioning.phase;
    if (phase === "stopping") {
      if (this.#captioning.isAway) this.#captioning.close(); // pressed twice: the last words are not waited for
    } else if (phase !== "idle") this.#captioning.stop();
    else if (this.#choice.chosen.source === "file") this.#file.click();
    else this.#start(null);
  }

  /** @param {File | null} file */
  #start(file) {
    this.#replay.stop();
    const { deviceId, opus, stereo, diarize, keepAudio } = this.#settings.values;
    const source = file ? "file" : this.#choice.chosen.source;
    const channels = stereo && source !== "file" ? 2 : 1;
    const wanted = { ...this.#choice.chosen, source, file };
    this.#captioning.start({ ...wanted, deviceId, opus, channels, diarize, keepAudio });
  }

  /** @param {Change} change */
  #change(change) {
    for (const step of stepsOf(change, this.#cast, this.#captioning.state.channels)) this.#feed.apply(step);
    if (change.kind === "revised") this.#revise(change.finals);
    if (change.kind !== "final") return;
    const hasAudio = this.#captioning.clips.get(change.final.id) !== null;
    this.#search.add(this.#timeline.add(change.final, this.#cast.partsOf(change.final), change.index, hasAudio));
    this.#draft.add(change.final);
  }

  /** @param {Final[]} finals whose speakers are others, or have other names */
  #revise(finals) {
    const revised = finals.map((final) => ({ final, parts: this.#cast.partsOf(final) }));
    for (const entry of this.#timeline.revise(revised)) this.#search.revise(entry);
    for (const final of finals) this.#draft.add(final);
  }

  /** @param {string} key @param {string} name */
  #rename(key, name) {
    const finals = this.#cast.rename(key, name, this.#captioning.state.finals);
    this.#draft.names = this.#cast.names;
    this.#change({ kind: "revised", finals });
  }

  /** @param {import("./captioning.js").Phase} phase */
  #showPhase(phase) {
    this.#transport.showPhase(phase, this.#captioning.isAway);
  }

  /** What has ended by itself without being at its end. @param {import("./parameter.js").SourceKind} source */
  #tellGone(source) {
    if (source !== "microphone") return;
    this.#notice.show({
      title: "The microphone has gone.",
      text: "What it had heard is in the transcript. Connect it or choose another one, and start again.",
      label: "Settings",
      onStep: () => void this.#openSettings(),
    });
  }

  /** @param {unknown} error */
  #fail(error) {
    if (this.#largeType.isOn) this.#largeType.toggle(); // what happened is told outside of it
    const { title, text, action } = problemOf(error);
    const steps = {
      retry: { label: "Try again", onStep: () => this.#toggle() },
      key: { label: "Enter a key", onStep: () => this.#toggle() },
      settings: { label: "Settings", onStep: () => void this.#openSettings() },
      reload: { label: "Reload", onStep: () => location.reload() },
      "": { label: "", onStep: () => {} },
    };
    this.#notice.show({ title, text, ...steps[action] });
  }

  async #loadModels() {
    try {
      this.#choice.offer(await this.#api.models());
    } catch (error) {
      const { title, text } = problemOf(error);
      this.#notice.show({ title, text, label: "Try again", onStep: () => void this.#loadModels() });
    }
  }

  #restore() {
    const finals = this.#draft.read();
    if (!finals.length) return;
    const list = element("#finals", HTMLElement);
    const live = list.ariaLive;
    list.ariaLive = "off"; // nobody wants all of it read out again
    this.#captioning.state.restore(finals);
    this.#captioning.state.finals.forEach((final, index) => {
      this.#timeline.add(final, this.#cast.partsOf(final), index, false);
    });
    setTimeout(() => (list.ariaLive = live));
    this.#tell("The transcript from before the reload is back. Its sound is not.");
  }

  #clear() {
    this.#replay.stop();
    this.#captioning.state.clear();
    this.#captioning.clips.clear();
    this.#timeline.clear();
    this.#search.clear();
    this.#draft.clear();
    this.#cast.clear();
    this.#feed.apply({ kind: "clear" });
  }

  /** @param {number} id */
  #play(id) {
    const clip = this.#captioning.clips.get(id);
    if (clip) this.#replay.toggle(id, clip);
    else this.#tell("The sound of this is not kept any more.");
  }

  #playLast() {
    const last = this.#captioning.state.finals.at(-1);
    if (last) this.#play(last.id);
  }

  /** A short word, which goes by itself. @param {string} words */
  #tell(words) {
    clearTimeout(this.#toasting);
    this.#toast.textContent = words;
    this.#toast.hidden = false;
    this.#toasting = setTimeout(() => (this.#toast.hidden = true), Math.max(TOAST_MS, words.length * 60));
  }
}

/** @param {"localStorage" | "sessionStorage"} name @returns {Storage | null} null where the browser forbids it */
function storage(name) {
  try {
    return window[name];
  } catch {
    return null;
  }
}
