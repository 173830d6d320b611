// One stream over several sessions: what of its audio is final, where another session goes on, and how events are
// numbered on. Plain data: it knows no sockets and no clock.
//
// A session that is resumed goes on by itself. But its server may end it because it shuts down, or be gone when the
// client comes back. Then a new session takes over, here or on another server. It begins where speech may lie that is
// in no final, and its events get the numbers and times of the stream. Speech of another channel that is heard a second
// time on the way is left out: a segment that is final already wholly, of one that goes on behind it the words that
// are. A session counts its speakers anew, so those of another one come behind them: a label means one person.

import { SpeakerLabels } from "./speaker-label.js";

/** @typedef {import("./message.js").SpeechStart} SpeechStart */
/** @typedef {import("./message.js").Partial} Partial */
/** @typedef {import("./message.js").SpeechEnd} SpeechEnd */
/** @typedef {import("./message.js").FinalSegment} FinalSegment */
/** @typedef {import("./message.js").SpeakersRevised} SpeakersRevised */
/** @typedef {import("./message.js").Warning} Warning */
/** @typedef {import("./message.js").Word} Word */
/** @typedef {Exclude<import("./message.js").StreamEvent, { type: "ready" | "ack" | "error" }>} SessionEvent */
/** @typedef {Exclude<SessionEvent, Warning>} Numbered */
/** @typedef {{ id: number, channel: number, startMs: number, saidMs: number }} Segment  `id`: of the stream, not of the
 *   session; `saidMs`: words that end up to here are in an earlier final */
/** @typedef {{ endMs: number, freeMs: number }} Said  The last final of a channel: where its speech ended, and from
 *   where on something else may be said */

/** Audio before the first speech of a new session, for the detector to get used to; it holds what a server puts before
 * a segment. */
export const LEAD_MS = 1000;
/** The newest audio that a server has: speech may have begun in it of which nothing has been said yet. */
export const DOUBT_MS = 3000;
/** What follows speech that ended in a silence, and sounds of it. */
export const TAIL_MS = 300;
/** How differently two sessions may time the same speech. */
const SAME_MS = 200;

/** Takes the events of every session in turn; gives them as those of one stream. */
export class Timeline {
  #rate;
  #wireRate;
  #base = 0; // position of the stream where the present session began
  #received = 0; // position of the stream up to which a server has the audio
  /** @type {Map<number, Segment>} */
  #open = new Map(); // by their number in the session
  /** @type {Map<number, SpeechStart>} */
  #held = new Map(); // segments that begin in what is final, until they go on behind it
  /** @type {Map<number, Said>} */
  #said = new Map(); // by channel
  /** @type {Pick<FinalSegment, "offset_ms" | "channel" | "text">[]} */
  #finals = [];
  /** @type {Map<number, number>} */
  #told = new Map(); // finals of the present session: their number in it, and in the stream
  #labels = new SpeakerLabels();
  #isOneChannel;
  #given = 0; // the number of the last event given
  #segments = 0;
  #isRestarted = false;
  #earlierSec = 0;

  /** `seq` of the present session's last event, for resuming it. */
  lastSeq = 0;

  /**
   * @param {number} rate  of positions: their number in a second
   * @param {number} [wireRate]  of the samples that the server counts
   * @param {number} [channels]  of the audio; a container may have more
   */
  constructor(rate, wireRate = rate, channels = 1) {
    this.#rate = rate;
    this.#wireRate = wireRate;
    this.#isOneChannel = channels === 1;
  }

  /** The first position that any session could still ask for. */
  get neededFrom() {
    return Math.max(0, Math.min(Math.floor((this.#restartMs() * this.#rate) / 1000), this.#received));
  }

  /** The position up to which a server has the audio. */
  get received() {
    return this.#received;
  }

  /**
   * A count of the present session as a position of the stream.
   * @param {number} receivedSamples
   */
  position(receivedSamples) {
    return this.#base + Math.floor((receivedSamples * this.#rate) / this.#wireRate);
  }

  /** @param {number} receivedSamples */
  receiveAck(receivedSamples) {
    this.#received = Math.max(this.#received, this.position(receivedSamples));
  }

  /**
   * Begin a new session.
   * @param {number} position  of the stream that it begins with: `neededFrom`, or what is nearest to that
   * @param {number} elapsedSec  how long the stream has lasted
   */
  restart(position, elapsedSec) {
    this.#base = this.#received = position;
    this.#open.clear();
    this.#held.clear();
    this.#told.clear();
    this.#labels = new SpeakerLabels(this.#labels.count);
    this.lastSeq = 0;
    this.#isRestarted = true;
    this.#earlierSec = elapsedSec;
  }

  /**
   * The event as one of the stream; nothing where it was there before, or of an unknown kind, which a newer server may
   * have; two where one was held back before it.
   * @param {SessionEvent} event
   * @returns {SessionEvent[]}
   */
  receive(event) {
    if (event.type === "warning") return [event];
    if (!(event.seq > this.lastSeq)) return [];
    this.lastSeq = event.seq;
    return this.#move(event).map((moved) => ({ ...moved, seq: ++this.#given }));
  }

  /** @param {Numbered} event @returns {Numbered[]} */
  #move(event) {
    const shift = Math.floor((this.#base * 1000) / this.#rate);
    switch (event.type) {
      case "speech_start": {
        const { segment_id: number, channel } = event;
        const offset = event.offset_ms + shift;
        const said = this.#said.get(channel);
        if (this.#isRestarted && said !== undefined && offset < said.endMs - SAME_MS) {
          this.#held.set(number, event);
          return [];
        }
        const segment = this.#open.get(number) ?? this.#begin(number, channel, offset);
        return [{ ...event, segment_id: segment.id, offset_ms: segment.startMs }];
      }
      case "partial":
      case "speech_end":
      case "final_segment":
        return this.#grow(event, shift);
      case "speakers_revised":
        return this.#revise(event);
      case "flushed":
      case "configured":
        return [event];
      case "end_of_transcript":
        if (!this.#isRestarted) return [event];
        this.#finals.sort((one, other) => one.offset_ms - other.offset_ms || one.channel - other.channel);
        return [{ ...event, text: joinText(this.#finals.map(({ text }) => text)) }];
      case "done":
        if (!this.#isRestarted) return [event];
        return [
          {
            ...event,
            total_segments: this.#finals.length,
            total_audio_duration_sec: round(event.total_audio_duration_sec + this.#base / this.#rate),
            connection_duration_sec: round(event.connection_duration_sec + this.#earlierSec),
          },
        ];
      default:
        return [];
    }
  }

  /** @param {Partial | SpeechEnd | FinalSegment} event @param {number} shift @returns {Numbered[]} */
  #grow(event, shift) {
    const { segment_id: number, channel } = event;
    if (channel > 0) this.#isOneChannel = false;
    const offset = event.offset_ms + shift;
    /** @type {Numbered[]} */
    const begun = [];
    const held = this.#held.get(number);
    if (held !== undefined) {
      const { endMs, freeMs } = /** @type {Said} */ (this.#said.get(channel));
      if (event.type === "final_segment") {
        this.#held.delete(number);
        return [];
      }
      if (offset + (event.type === "partial" ? event.duration_ms : 0) <= freeMs) return [];
      this.#held.delete(number);
      const { id } = this.#begin(number, channel, endMs, endMs);
      begun.push({ ...held, segment_id: id, offset_ms: endMs });
    }
    const segment = this.#open.get(number) ?? this.#begin(number, channel, offset);
    const moved = { ...event, segment_id: segment.id, offset_ms: offset };
    if (moved.type === "final_segment") {
      this.#open.delete(number);
      return [...begun, this.#finish(moved, number, shift, segment.saidMs)];
    }
    if (moved.type === "partial" && segment.saidMs > 0) moved.stable_chars = 0; // the final begins with a later word
    return [...begun, moved];
  }

  /** @param {number} number @param {number} channel @param {number} startMs @param {number} [saidMs] */
  #begin(number, channel, startMs, saidMs = 0) {
    const segment = { id: this.#segments++, channel, startMs, saidMs };
    this.#open.set(number, segment);
    return segment;
  }

  /**
   * @param {FinalSegment} final
   * @param {number} number  of its session
   * @param {number} shift
   * @param {number} saidMs
   * @returns {FinalSegment}
   */
  #finish(final, number, shift, saidMs) {
    const endMs = final.offset_ms + final.duration_ms;
    if (final.speaker) final = { ...final, speaker: this.#label(final.speaker) };
    if (final.words !== undefined) {
      const words = final.words.map((word) => this.#moveWord(word, shift)).filter((word) => word.end_ms > saidMs);
      if (words.length < final.words.length) {
        const startMs = words.length > 0 ? words[0].start_ms : Math.min(saidMs, endMs);
        const text = joinText(words.map(({ word }) => word));
        final = { ...final, text, offset_ms: startMs, duration_ms: endMs - startMs };
      }
      final = { ...final, words };
    }
    this.#told.set(number, final.segment_id);
    const tail = Math.min(TAIL_MS, Math.floor(final.silence_duration_ms / 2));
    this.#said.set(final.channel, { endMs, freeMs: endMs + tail });
    this.#finals.push({ offset_ms: final.offset_ms, channel: final.channel, text: final.text });
    return final;
  }

  /** @param {Word} word @param {number} shift @returns {Word} */
  #moveWord(word, shift) {
    const moved = { ...word, start_ms: word.start_ms + shift, end_ms: word.end_ms + shift };
    if (word.speaker) moved.speaker = this.#label(word.speaker);
    return moved;
  }

  /** Finals of several channels, of which words may be left out, are never revised. @param {SpeakersRevised} event */
  #revise(event) {
    const segments = event.segments.flatMap((segment) => {
      const id = this.#told.get(segment.segment_id);
      if (id === undefined) return [];
      const words = segment.words?.map((speaker) => this.#label(speaker));
      return [{ ...segment, segment_id: id, speaker: this.#label(segment.speaker), ...(words && { words }) }];
    });
    return segments.length > 0 ? [{ ...event, segments }] : [];
  }

  /** Where there are several channels a label is that of a channel, in every session. @param {string} speaker */
  #label(speaker) {
    return this.#isOneChannel ? this.#labels.of(speaker) : speaker;
  }

  /** Where another session would begin: before all speech that is in no final, behind all that is in one. */
  #restartMs() {
    const received = Math.floor((this.#received * 1000) / this.#rate);
    const channels = new Set([0, ...this.#said.keys(), ...[...this.#open.values()].map(({ channel }) => channel)]);
    return Math.min(...[...channels].map((channel) => this.#restartOf(channel, received)));
  }

  /** @param {number} channel @param {number} received */
  #restartOf(channel, received) {
    const { endMs, freeMs } = this.#said.get(channel) ?? { endMs: 0, freeMs: 0 };
    const starts = [...this.#open.values()].filter((open) => open.channel === channel).map(({ startMs }) => startMs);
    for (const held of this.#held.values()) if (held.channel === channel) starts.push(endMs);
    if (starts.length > 0) {
      const first = Math.min(...starts);
      return Math.min(first, Math.max(first - LEAD_MS, freeMs));
    }
    return Math.max(received - DOUBT_MS, Math.min(freeMs, received));
  }
}

/** @param {string[]} texts */
function joinText(texts) {
  return texts.filter((text) => text !== "").join(" ");
}

/** @param {number} seconds */
function round(seconds) {
  return Math.round(seconds * 1000) / 1000;
}
