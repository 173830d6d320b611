// The client: audio in, events out, and a connection that mends itself. It knows no microphones and no files.
//
// The caller puts audio into the backlog, from which it goes to the connection as far as that has room. When that
// breaks, a new one is made, the backlog goes back to what the server has, and everything goes on.

import { copy, isWav, sampleBytes, withDefaults } from "./audio.js";
import { Backlog, FRAME_BYTES } from "./backlog.js";
import { clockOf } from "./clock.js";
import { COMING_BACK } from "./connection.js";
import { Door, parse } from "./door.js";
import { StreamError } from "./error.js";
import { Mailbox } from "./mailbox.js";
import { Mending } from "./mending.js";
import { awaitAnswer, Questions } from "./question.js";
import { Timeline } from "./timeline.js";
import { TypedTarget } from "./typed-target.js";
import { WebmBacklog } from "./webm.js";

/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./message.js").Done} Done */

const MAX_EVENTS = 5000;
const UNCONFIRMED_SEC = 2; // a server confirms every second of audio

/**
 * One stream of audio to a server, and its captions.
 *
 * Every event of the protocol (but `ready` and `ack`) comes once, also after a reconnection: as a DOM event of its type
 * with the message as `detail`, and in an iteration (`for await (const event of client)`), which ends after `done` and
 * throws where the stream ended early. Events wait for an iteration, 5000 at most. Two more only come as DOM events:
 * `connection`, with a `ConnectionChange`, and `error`, with the `StreamError` that has ended the stream.
 *
 * A connection that breaks is resumed. Where the session is gone with its server, or was ended because the server shuts
 * down, a new one takes over behind the last final, and numbers and times go on. A segment that was open then gets no
 * final; what was said in it comes under a new number. So it is with every break for audio in a WebM container. Other
 * containers, and audio with a WAV header, survive no break.
 */
export class StreamClient extends TypedTarget {
  #rate;
  #maxBufferBytes;
  #backlog;
  #timeline;
  #questions;
  #mending;
  #mailbox = new Mailbox(MAX_EVENTS);
  #closing = new AbortController();
  /** @type {Connection | undefined} */
  #connection;
  /** @type {StreamError | undefined} */
  #over;
  #confirmed = 0; // position up to which the server has said that it has the audio
  #isConnecting = false;
  #isEnding = false;
  /** @type {import("./question.js").Answer<void>[]} */
  #waiting = []; // for room
  /** @type {import("./question.js").Answer<Done>} */
  #done = awaitAnswer();

  /**
   * @param {string | URL} url  `ws://`, `wss://`, or relative to the page, with the path, usually `/ws`
   * @param {import("./option.js").StreamOptions} [options]  besides the client's own, any field of the init message;
   *   `dtype` is `int16` where none is given
   */
  constructor(url, options = {}) {
    super();
    const { token, reconnect, maxBufferBytes = 16 * 2 ** 20, openTimeoutSec = 10, ...fields } = options;
    const { WebSocket = globalThis.WebSocket, ...given } = fields;
    const init = withDefaults(given);
    const isContainer = init.dtype === "container";
    this.#rate = isContainer ? 1000 : init.sample_rate;
    this.#maxBufferBytes = maxBufferBytes;
    this.#backlog = isContainer
      ? new WebmBacklog(maxBufferBytes)
      : new Backlog(sampleBytes(init), maxBufferBytes);
    this.#timeline = new Timeline(this.#rate, init.sample_rate, init.channels ?? 1);
    this.#questions = new Questions(this.#backlog);
    const parts = {
      door: new Door(url, token, WebSocket, openTimeoutSec),
      init: { ...init, type: "init", acks: true },
      ...{ backlog: this.#backlog, timeline: this.#timeline, questions: this.#questions },
      ...{ clock: clockOf(this.#closing.signal), signal: this.#closing.signal },
      notify: this.#notify.bind(this),
      isResumable: !isContainer,
    };
    this.#mending = new Mending(parts, reconnect);
  }

  /** What the server answered: session, model, and the settings in force; undefined before it did. */
  get ready() {
    return this.#mending.ready;
  }

  /** Bytes of audio that are not on their way yet. */
  get bufferedBytes() {
    return this.#backlog.unsentBytes + (this.#connection?.bufferedBytes ?? 0);
  }

  /**
   * Connect, and wait for `ready`. Once for each client.
   * @returns {Promise<import("./message.js").Ready>}
   * @throws {StreamError} refused, or unreachable
   */
  async connect() {
    if (this.#isConnecting) throw new Error("connect() was called before; make a client for each stream");
    this.#isConnecting = true;
    try {
      if (this.#over) throw this.#over;
      const connection = await this.#mending.begin();
      this.#run(connection);
      return /** @type {import("./message.js").Ready} */ (this.ready);
    } catch (error) {
      this.#finish(/** @type {StreamError} */ (error));
      throw error;
    }
  }

  /**
   * Send audio of any length, in the layout declared; a call may split a sample. The audio is copied.
   *
   * Resolves when there is room for more. Who records live need not wait; more than `maxBufferBytes` end the stream.
   * @param {ArrayBuffer | ArrayBufferView} audio
   * @returns {Promise<void>}
   * @throws {StreamError} the stream has ended early
   */
  send(audio) {
    this.#requireConnected();
    if (this.#isEnding) throw new Error("send() after end()");
    const bytes = copy(audio);
    if (this.#backlog instanceof Backlog && this.#backlog.endSample === 0 && isWav(bytes)) {
      this.#mending.isMendable = false;
    }
    if (this.#backlog.unsentBytes > this.#maxBufferBytes) {
      const message = "audio comes faster than the connection takes it; wait for send(), or raise maxBufferBytes";
      this.#finish(new StreamError("BUFFER_FULL", message));
    }
    if (!this.#over) this.#backlog.append(bytes);
    const room = awaitAnswer();
    this.#waiting.push(room);
    this.#pump();
    return room.promise;
  }

  /** Make everything sent so far final, and wait for it. Events go on meanwhile. */
  flush() {
    return this.#ask(() => this.#questions.flush());
  }

  /**
   * Change settings in mid-stream, and wait until they are in force.
   * @param {Omit<import("./message.js").Configure, "type">} fields
   */
  configure(fields) {
    return this.#ask(() => this.#questions.configure(fields));
  }

  /** Say that the caller is still there while there is no audio. Without a connection there is no need to. */
  keepalive() {
    this.#requireConnected();
    this.#connection?.send('{"type":"keepalive"}');
  }

  /**
   * No more audio. Events go on until `done`.
   * @returns {Promise<Done>}
   * @throws {StreamError} the stream has ended early
   */
  end() {
    this.#requireConnected();
    if (!this.#isEnding && this.#over === undefined) {
      this.#isEnding = true;
      this.#backlog.append('{"type":"end"}');
      this.#pump();
    }
    return this.#done.promise;
  }

  /** Leave at once. For all that was heard, wait for `end()` instead. */
  close() {
    this.#finish(new StreamError("CLOSED", "the client was closed"));
  }

  /** @returns {AsyncIterableIterator<import("./timeline.js").SessionEvent>} */
  [Symbol.asyncIterator]() {
    return this.#mailbox;
  }

  #requireConnected() {
    if (!this.ready && !this.#over) throw new Error("wait for connect() first");
  }

  /** @template T @param {() => T} ask */
  #ask(ask) {
    this.#requireConnected();
    const answer = ask();
    if (this.#over) this.#questions.fail(this.#over);
    this.#pump();
    return answer;
  }

  /** Send as much as the connection takes, and let go of who waits for room. */
  #pump() {
    while (this.#connection?.hasRoom) {
      const frame = this.#backlog.nextFrame();
      if (frame === undefined) break;
      this.#connection.send(frame);
    }
    if (!this.#over && this.#backlog.unsentBytes > FRAME_BYTES) return;
    for (const { resolve, reject } of this.#waiting.splice(0)) this.#over ? reject(this.#over) : resolve();
  }

  /** The connection's whole life. @param {Connection} connection */
  async #run(connection) {
    try {
      this.#notify({ state: "open", message: `session ${this.ready?.session_id}` });
      while (!(await this.#converse(connection))) connection = await this.#mending.reconnect();
    } catch (error) {
      this.#finish(/** @type {StreamError} */ (error));
    }
  }

  /**
   * Write and read on one connection; true where the stream is over, false where it goes on on another one.
   * @param {Connection} connection
   */
  async #converse(connection) {
    this.#confirmed = this.#timeline.position(this.ready?.received_samples ?? 0);
    this.#connection = connection;
    connection.onroom = () => this.#pump();
    connection.watch(() => this.#backlog.nextSample - this.#confirmed > UNCONFIRMED_SEC * this.#rate);
    try {
      if (this.#over) throw this.#over; // meanwhile
      this.#pump();
      while (!this.#handle(await connection.receive()));
      return true;
    } catch (reason) {
      if (this.#over) throw this.#over;
      this.#mending.survive(reason);
      connection.close(COMING_BACK);
      return false;
    } finally {
      this.#connection = undefined;
      connection.close(1000);
    }
  }

  /** Take in one message; true where it is the last. @param {unknown} message */
  #handle(message) {
    const event = parse(message);
    if (event === undefined) throw new StreamError("PROTOCOL_ERROR", "the server sent a frame that is not JSON");
    if (event.type === "ready") return false;
    if (event.type === "error") throw new StreamError(event.code, event.message, event.retry_after);
    if (event.type === "ack") {
      this.#timeline.receiveAck(event.received_samples);
      this.#confirmed = Math.max(this.#confirmed, this.#timeline.received);
      this.#questions.heard(this.#timeline.position(event.received_samples));
      this.#backlog.forget(this.#timeline.neededFrom);
      this.#mending.progress();
      return false;
    }
    for (const known of this.#timeline.receive(event)) {
      if (known.type !== "warning") this.#mending.progress(); // each new connection is told the last one again
      if (known.type === "flushed" && !this.#questions.flushed(known)) continue;
      if (known.type === "configured") {
        this.#questions.configured(known);
        this.#pump(); // the next question may be asked
      }
      this.#mailbox.put(known);
      this.tell(known.type, known);
      if (known.type === "done") this.#finish(undefined, known);
    }
    return event.type === "done";
  }

  /** @param {import("./mending.js").ConnectionChange} change */
  #notify(change) {
    const bufferedSec = Math.max(0, this.#backlog.endSample - this.#confirmed) / this.#rate;
    this.tell("connection", { ...change, bufferedSec });
  }

  /**
   * The stream is over: let go of everyone who waits. An iteration ends without an error where the caller wanted it.
   * @param {StreamError | undefined} error
   * @param {Done} [done]
   */
  #finish(error, done) {
    if (this.#over) return;
    this.#over = error ?? new StreamError("CLOSED", "the stream is over");
    const isWanted = error === undefined || error.code === "CLOSED";
    if (done) this.#done.resolve(done);
    else this.#done.reject(this.#over);
    this.#closing.abort(this.#over);
    this.#connection?.close(1000);
    this.#pump();
    this.#questions.fail(this.#over);
    this.#mailbox.close(isWanted ? undefined : error);
    if (!isWanted && this.ready) this.tell("error", error); // else connect() says it
    this.#notify({ state: "closed", message: error?.message ?? "everything that was sent has been answered" });
  }
}
