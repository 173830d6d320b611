// How a stream gets over the end of a connection: whether it goes on, where, and from which sample. It reads nothing.
//
// A connection that breaks is resumed. Where the session is gone, or was ended because its server shuts down, a new one
// takes over; a container always needs a new one.

import { Closed, COMING_BACK } from "./connection.js";
import { StreamError } from "./error.js";

/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./message.js").Ready} Ready */

/**
 * How hard to try when a connection breaks. Waits grow from `firstWaitSec` (0.2) twofold up to `longestWaitSec` (5),
 * each a random part of that, so that a thousand clients of a server that restarts do not come back at one instant.
 * After `giveUpSec` (60) the stream ends with an error; 0 never reconnects.
 * @typedef {{ giveUpSec?: number, firstWaitSec?: number, longestWaitSec?: number }} ReconnectPolicy
 */

/**
 * What has become of the connection; `message` is for people to read.
 *
 * `open`: for the first time. `lost`: it is being mended; comes again before each `attempt`, which is made in
 * `retryInSec`. `resumed`: the session goes on. `restarted`: a new session has taken over, and what was open in the old
 * one begins anew. `closed`: the stream is over. `bufferedSec`: audio that the server has not confirmed yet.
 * @typedef {object} ConnectionChange
 * @property {"open" | "lost" | "resumed" | "restarted" | "closed"} state
 * @property {string} message
 * @property {number} [attempt]
 * @property {number} [retryInSec]
 * @property {number} [bufferedSec]
 */

/** Refusals that a later attempt may not meet any more. */
const TRANSIENT = new Set(["CONNECTION_FAILED", "CAPACITY_FULL", "SERVER_DRAINING", "RATE_LIMITED"]);

/** Close codes that say what an error event would have said; others may hide a break, and a resume tells. */
const CLOSES = new Map([
  [1012, "SERVER_DRAINING"],
  [4011, "SESSION_REPLACED"],
]);

export class Mending {
  #parts;
  #policy;
  #isGone = false; // the session
  #startedAt = 0;
  /** @type {number | undefined} */
  #lostAt; // since when there is no progress
  #longest = 0; // a wait may be; 0 where nothing was tried since the last progress
  #cause = "";

  /** @type {Ready | undefined} */
  ready;

  /** Turns false where the audio has a header that cannot be sent again. */
  isMendable;

  /**
   * @param {object} parts
   * @param {Pick<import("./door.js").Door, "open" | "abandoned">} parts.door
   * @param {import("./door.js").InitFields} parts.init  the message of the first session
   * @param {import("./backlog.js").FrameLog} parts.backlog
   * @param {import("./timeline.js").Timeline} parts.timeline
   * @param {import("./question.js").Questions} parts.questions
   * @param {(change: ConnectionChange) => void} parts.notify
   * @param {import("./clock.js").Clock} parts.clock
   * @param {AbortSignal} parts.signal  whose reason is thrown
   * @param {boolean} parts.isResumable  false: only a new session can take over
   * @param {ReconnectPolicy | false} [policy]
   */
  constructor(parts, policy) {
    this.#parts = parts;
    this.#policy = { giveUpSec: policy === false ? 0 : 60, firstWaitSec: 0.2, longestWaitSec: 5, ...policy };
    this.isMendable = this.#policy.giveUpSec > 0;
  }

  /** The first connection. */
  async begin() {
    const { door, init, signal, clock } = this.#parts;
    const { connection, ready } = await door.open(init, signal);
    this.#startedAt = clock.now();
    this.ready = ready;
    return connection;
  }

  /** The server has said something new: whatever was broken is mended. */
  progress() {
    this.#lostAt = undefined;
    this.#longest = 0;
  }

  /**
   * Note how the stream goes on after this end of a connection.
   * @param {unknown} reason
   * @throws {StreamError} it does not
   */
  survive(reason) {
    const { door } = this.#parts;
    const error = errorOf(reason);
    if (!this.isMendable) throw error;
    if (error.code === "SERVER_DRAINING") this.#isGone = true;
    else if (error.code === "SESSION_REPLACED" && door.abandoned > 0) door.abandoned--; // by one of ours
    else if (error.code !== "CONNECTION_LOST") throw error;
    this.#cause = error.message;
  }

  /**
   * Connect again and take up the session where it broke, or a new one where it is gone.
   * @returns {Promise<Connection>}
   * @throws {StreamError} it took too long, or cannot be done
   */
  async reconnect() {
    const { notify, clock, signal, isResumable } = this.#parts;
    const { giveUpSec, firstWaitSec, longestWaitSec } = this.#policy;
    // A server that breaks the connection again and again, with nothing in between, counts as one loss.
    const deadline = (this.#lostAt ??= clock.now()) + giveUpSec;
    let [message, why] = [this.#cause, "the connection breaks again and again"];
    /** @type {number | undefined} */
    let retryAfter;
    this.#longest ||= firstWaitSec;
    for (let attempt = 1; ; attempt++) {
      const left = deadline - clock.now();
      if (left <= 0) throw new StreamError("CONNECTION_LOST", `gave up after ${giveUpSec} s: ${why}`, retryAfter);
      // A long Retry-After says no more than when to come; the last attempt is made when the time is over.
      const retryInSec = Math.min(Math.max(clock.random() * this.#longest, retryAfter ?? 0), left);
      notify({ state: "lost", message, attempt, retryInSec });
      await clock.wait(retryInSec);
      signal.throwIfAborted();
      this.#longest = Math.min(this.#longest * 2, longestWaitSec);
      try {
        return await (this.#isGone || !isResumable ? this.#restart() : this.#resume());
      } catch (error) {
        if (!(error instanceof StreamError)) throw error;
        if (error.code === "SESSION_NOT_FOUND") this.#isGone = true;
        else if (!TRANSIENT.has(error.code)) throw error;
        message = why = error.message;
        retryAfter = error.retryAfter;
      }
    }
  }

  async #resume() {
    const { door, init, signal, timeline, questions } = this.#parts;
    const { session_id, resume_token } = /** @type {Ready} */ (this.ready);
    const resuming = { ...init, session_id, resume_token, last_seq: timeline.lastSeq };
    const { connection, ready } = await door.open(resuming, signal);
    if (!ready.resumed) return this.#takeOver(connection, ready); // a server that knows no resuming has begun anew
    // Not heard yet: what the server has made of it is still to be replayed, and this connection may break, too.
    this.#rewind(connection, timeline.position(ready.received_samples));
    questions.resume();
    return this.#goOn("resumed", connection, ready);
  }

  async #restart() {
    const { door, init, signal, questions } = this.#parts;
    const { connection, ready } = await door.open({ ...init, ...questions.inForce }, signal);
    return this.#takeOver(connection, ready);
  }

  /**
   * A new session goes on behind the last final.
   * @param {Connection} connection
   * @param {Ready} ready
   */
  #takeOver(connection, ready) {
    const { door, clock, backlog, timeline, questions } = this.#parts;
    const from = this.#rewind(connection, Math.max(backlog.firstSample, timeline.neededFrom));
    timeline.restart(from, clock.now() - this.#startedAt);
    questions.restart();
    door.abandoned = 0; // those would come to the session that is gone
    this.#isGone = false;
    return this.#goOn("restarted", connection, ready);
  }

  /** @param {Connection} connection @param {number} position */
  #rewind(connection, position) {
    const from = this.#parts.backlog.rewind(position);
    if (from !== undefined) return from;
    connection.close(COMING_BACK);
    const message = "the server lacks audio that cannot be sent again; raise maxBufferBytes, or record as WebM";
    throw new StreamError("CONNECTION_LOST", message);
  }

  /** @param {"resumed" | "restarted"} state @param {Connection} connection @param {Ready} ready */
  #goOn(state, connection, ready) {
    this.ready = ready;
    this.#parts.notify({ state, message: `the stream goes on in session ${ready.session_id}` });
    return connection;
  }
}

/** @param {unknown} reason */
function errorOf(reason) {
  if (reason instanceof StreamError) return reason;
  if (reason instanceof Closed) return new StreamError(CLOSES.get(reason.code) ?? "CONNECTION_LOST", reason.message);
  return new StreamError("PROTOCOL_ERROR", "the server sent something that this client cannot read", undefined, reason);
}
