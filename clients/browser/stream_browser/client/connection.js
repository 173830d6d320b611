// One WebSocket as it is: frames out, text in. It does not know what they mean.

/** Close code of who will come back: any but 1000, by which a client leaves its session for good. */
export const COMING_BACK = 4000;
/** Bytes that may wait in the socket; what is beyond stays in the backlog, where it can be counted. */
const HIGH_BYTES = 256 * 1024;
/** A socket does not tell when it has room again, so it is asked. */
const ASK_MS = 50;
/** A connection on which nothing is heard for so long, though something should be, is dead. */
const SILENCE_SEC = 20;

/** The other side is gone. `code`: the close code, 1006 where there was none. */
export class Closed extends Error {
  /** @param {number} code @param {string} reason */
  constructor(code, reason) {
    super(`${reason || "the connection broke"} (${code})`);
    this.code = code;
  }
}

export class Connection {
  #socket;
  /** @type {unknown[]} */
  #messages = [];
  #wake = () => {};
  /** @type {Closed | undefined} */
  #closed;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #asking;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #watching;
  #heardAt = 0;

  /** Called when there is room again after `hasRoom` was false. */
  onroom = () => {};

  /** @param {WebSocket} socket  which has just been made */
  constructor(socket) {
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      this.#heardAt = performance.now();
      this.#messages.push(data);
      this.#wake();
    };
    socket.onerror = () => {}; // says nothing; a close follows
    socket.onclose = ({ code, reason }) => this.#end(new Closed(code, reason));
    /** @type {Promise<void>} Rejects with `Closed`. */
    this.opened = new Promise((resolve, reject) => {
      socket.onopen = () => resolve();
      this.#wake = () => this.#closed && reject(this.#closed);
    });
  }

  get bufferedBytes() {
    return this.#socket.bufferedAmount;
  }

  get hasRoom() {
    if (this.#closed) return false;
    if (this.#socket.bufferedAmount <= HIGH_BYTES) return true;
    this.#asking ??= setTimeout(() => {
      this.#asking = undefined;
      if (this.hasRoom) this.onroom();
    }, ASK_MS);
    return false;
  }

  /** @param {Uint8Array | string} frame  lost where the connection has ended */
  send(frame) {
    if (!this.#closed) this.#socket.send(/** @type {string} */ (frame));
  }

  /**
   * The next message.
   * @throws {Closed}
   */
  async receive() {
    while (this.#messages.length === 0) {
      if (this.#closed) throw this.#closed;
      await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
    }
    return this.#messages.shift();
  }

  /**
   * Hang up where the other side falls silent; a browser may not notice for minutes.
   * @param {() => boolean} isDue  whether it should say something
   */
  watch(isDue) {
    if (this.#closed) return;
    this.#watching = setInterval(() => {
      const isSilent = performance.now() - this.#heardAt > SILENCE_SEC * 1000;
      if (isSilent && isDue()) this.close(COMING_BACK, `the server was silent for ${SILENCE_SEC} s`);
    }, 1000);
  }

  /**
   * Hang up. A server takes 1000 for a client who will not come back to its session.
   * @param {number} code
   * @param {string} [reason]  why, for who waits to receive
   */
  close(code, reason = "") {
    if (this.#closed) return;
    this.#messages = [];
    this.#end(new Closed(1006, reason));
    this.#socket.close(code);
  }

  /** @param {Closed} closed */
  #end(closed) {
    if (this.#closed) return;
    this.#closed = closed;
    clearTimeout(this.#asking);
    clearInterval(this.#watching);
    this.#socket.onmessage = null;
    this.#wake();
  }
}
