/**
 * What has been said, made of the events of one stream after the other: the segments that are open, and the finals.
 * Plain data; it knows neither the page nor the connection.
 *
 * A second stream goes on behind the first: numbers, times and speakers of the transcript never begin again.
 */

import { SpeakerLabels, speakerNumber } from "../client/speaker-label.js";

/** @typedef {import("../shared/transcript.js").Word} Word */

/**
 * @typedef {object} Live A segment that is being spoken.
 * @property {number} id of the transcript
 * @property {number} channel
 * @property {number} start_ms
 * @property {string} stable will not change any more
 * @property {string} unstable may change
 * @property {boolean} isSpeaking speech_end has not come yet
 */

/**
 * @typedef {object} Final
 * @property {number} id
 * @property {string} text
 * @property {number} start_ms
 * @property {number} end_ms
 * @property {number} channel
 * @property {number} channels how many the stream had
 * @property {string} language
 * @property {number} confidence
 * @property {Word[]} words
 * @property {string} [speaker] who says most of it, as the server names them
 * @property {true} [isUnfinished] the stream broke before its final; this is what stood there
 */

/**
 * @typedef {{ kind: "live", live: Live, hasNewText: boolean }
 *   | { kind: "final", final: Final, index: number, hasNewText: boolean }
 *   | { kind: "revised", finals: Final[] }
 *   | { kind: "gone", id: number }} Change what the page has to show
 */

/** So many finals are kept, which is most of a day of speech; then the oldest go. */
export const MAX_FINALS = 10_000;

export class CaptionState {
  /** @type {Map<number, Live>} by number in the transcript */
  #open = new Map();
  /** @type {Final[]} in order of time */
  #finals = [];
  #firstId = 0; // of the present stream
  #startMs = 0;
  #nextId = 0;
  #channels = 1;
  #labels = new SpeakerLabels();

  /** @returns {readonly Final[]} */
  get finals() {
    return this.#finals;
  }

  /** Where the present stream begins in the transcript, in milliseconds. */
  get startMs() {
    return this.#startMs;
  }

  /** How many channels the present stream has, as far as is known. */
  get channels() {
    return this.#channels;
  }

  /** Whether somebody speaks. */
  get isSpeech() {
    return [...this.#open.values()].some(({ isSpeaking }) => isSpeaking);
  }

  /**
   * A stream begins, behind everything that is there.
   *
   * @param {number} channels
   */
  begin(channels) {
    this.#channels = channels;
    this.#firstId = this.#nextId;
    this.#startMs = this.#finals.reduce((end, { end_ms }) => Math.max(end, end_ms), 0);
    this.#startMs = Math.ceil(this.#startMs / 1000) * 1000; // whole seconds are easier to follow
    this.#labels = new SpeakerLabels(speakersOf(this.#finals));
  }

  /**
   * An event of the protocol.
   *
   * @param {any} event
   * @returns {Change | null} null where nothing is to be shown
   */
  receive(event) {
    switch (event.type) {
      case "speech_start":
        return { kind: "live", live: this.#opened(event), hasNewText: false };
      case "partial":
        return this.#partial(event);
      case "speech_end": {
        const live = this.#open.get(this.#firstId + event.segment_id);
        if (!live) return null;
        live.isSpeaking = false;
        return { kind: "live", live, hasNewText: false };
      }
      case "final_segment":
        return this.#final(event);
      case "speakers_revised":
        return this.#revised(event);
      default:
        return null;
    }
  }

  /**
   * The session is gone, and what was open comes again under new numbers.
   *
   * @returns {Change[]}
   */
  restart() {
    const ids = [...this.#open.keys()];
    this.#open.clear();
    return ids.map((id) => ({ kind: "gone", id }));
  }

  /**
   * The stream broke for good: what stands there is kept, and marked as unfinished.
   *
   * @returns {Change[]}
   */
  abandon() {
    return [...this.#open.values()].map((live) => {
      this.#open.delete(live.id);
      const text = (live.stable + live.unstable).trim();
      if (!text) return { kind: "gone", id: live.id };
      const { id, channel, start_ms } = live;
      /** @type {Final} */
      const final = {
        id, text, channel, start_ms, end_ms: start_ms, channels: this.#channels, language: "", confidence: 0, words: [],
        isUnfinished: true,
      };
      return { kind: "final", final, index: this.#insert(final), hasNewText: false };
    });
  }

  /**
   * Finals of an earlier visit.
   *
   * @param {readonly Final[]} finals
   */
  restore(finals) {
    for (const final of finals) this.#insert(final);
    this.#nextId = this.#finals.reduce((next, { id }) => Math.max(next, id + 1), this.#nextId);
  }

  /** Nothing has been said. An open stream goes on from where it is. */
  clear() {
    this.#finals = [];
  }

  /** @param {any} event */
  #opened({ segment_id, channel, offset_ms }) {
    const id = this.#firstId + segment_id;
    this.#channels = Math.max(this.#channels, channel + 1); // a container says only itself how many it has
    this.#nextId = Math.max(this.#nextId, id + 1);
    const start_ms = this.#startMs + offset_ms;
    const live = this.#open.get(id) ?? { id, channel, start_ms, stable: "", unstable: "", isSpeaking: true };
    this.#open.set(id, live);
    return live;
  }

  /** @param {any} event @returns {Change | null} */
  #partial(event) {
    const live = this.#opened(event);
    const stable = firstChars(event.text, event.stable_chars);
    const unstable = event.text.slice(stable.length);
    const hasNewText = stable + unstable !== live.stable + live.unstable;
    if (!hasNewText && stable === live.stable) return null;
    Object.assign(live, { stable, unstable });
    return { kind: "live", live, hasNewText };
  }

  /** @param {any} event @returns {Change} */
  #final(event) {
    const live = this.#opened(event);
    this.#open.delete(live.id);
    if (!event.text.trim()) return { kind: "gone", id: live.id };
    const shift = this.#startMs;
    /** @type {Final} */
    const final = {
      id: live.id,
      text: event.text,
      start_ms: shift + event.offset_ms,
      end_ms: shift + event.offset_ms + event.duration_ms,
      channel: event.channel,
      channels: this.#channels,
      language: event.language,
      confidence: event.confidence,
      words: (event.words ?? []).map((/** @type {Word} */ word) => ({
        ...word, start_ms: shift + word.start_ms, end_ms: shift + word.end_ms,
        ...(word.speaker && { speaker: this.#label(word.speaker) }),
      })),
    };
    if (event.speaker) final.speaker = this.#label(event.speaker);
    const hasNewText = event.text !== live.stable + live.unstable;
    return { kind: "final", final, index: this.#insert(final), hasNewText };
  }

  /** Finals are replaced, not changed: others may hold them. @param {any} event @returns {Change | null} */
  #revised({ segments }) {
    /** @type {Map<number, { speaker: string, words?: string[] }>} */
    const told = new Map(segments.map((/** @type {any} */ segment) => [this.#firstId + segment.segment_id, segment]));
    /** @type {Final[]} */
    const finals = [];
    for (const [index, final] of this.#finals.entries()) {
      const segment = told.get(final.id);
      if (!segment) continue;
      const words = final.words.map((word, at) => {
        const speaker = segment.words?.[at];
        return speaker ? { ...word, speaker: this.#label(speaker) } : word;
      });
      this.#finals[index] = { ...final, speaker: this.#label(segment.speaker), words };
      finals.push(this.#finals[index]);
    }
    return finals.length > 0 ? { kind: "revised", finals } : null;
  }

  /** Where there are several channels, a label is that of the channel. @param {string} speaker */
  #label(speaker) {
    return this.#channels === 1 ? this.#labels.of(speaker) : speaker;
  }

  /** In order of time, which is nearly always at the end. @param {Final} final */
  #insert(final) {
    let index = this.#finals.length;
    while (index > 0 && this.#finals[index - 1].start_ms > final.start_ms) index -= 1;
    this.#finals.splice(index, 0, final);
    if (this.#finals.length <= MAX_FINALS) return index;
    this.#finals.shift();
    return Math.max(index - 1, 0);
  }
}

/** How many labels are taken. @param {readonly Final[]} finals */
function speakersOf(finals) {
  const heard = finals.flatMap(({ speaker, words }) => [speaker, ...words.map((word) => word.speaker)]);
  return heard.reduce((count, speaker) => Math.max(count, speakerNumber(speaker) + 1), 0);
}

/** The first `count` code points, as the protocol counts them. @param {string} text @param {number} count */
function firstChars(text, count) {
  let end = 0;
  for (let seen = 0; seen < count && end < text.length; seen++) end += (text.codePointAt(end) ?? 0) > 0xffff ? 2 : 1;
  return text.slice(0, end);
}
