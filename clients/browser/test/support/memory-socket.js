// A WebSocket without a network: the client's end, and the other one in the hands of a test.

/** The server's end of a connection. */
export class FarEnd {
  #socket;
  /** @type {(Uint8Array | string)[]} */
  inbox = [];
  #wake = () => {};
  /** @type {number | undefined} Of the client, once it has closed. */
  closedWith;

  /** @param {MemorySocket} socket */
  constructor(socket) {
    this.#socket = socket;
    this.url = new URL(socket.url);
  }

  get isClosed() {
    return this.#socket.readyState > 1;
  }

  /** The next frame; throws where there will be none. @returns {Promise<Uint8Array | string>} */
  async receive() {
    while (this.inbox.length === 0) {
      if (this.isClosed) throw new Error("closed");
      await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
    }
    return /** @type {Uint8Array | string} */ (this.inbox.shift());
  }

  async receiveMessage() {
    return JSON.parse(/** @type {string} */ (await this.receive()));
  }

  /** @param {...(object | string | ArrayBuffer)} events */
  say(...events) {
    for (const event of events) {
      const data = typeof event === "string" || event instanceof ArrayBuffer ? event : JSON.stringify(event);
      queueMicrotask(() => this.#socket.onmessage?.({ data }));
    }
  }

  close(code = 1006, reason = "") {
    queueMicrotask(() => this.#socket.shut(code, reason));
  }

  /** @param {Uint8Array | string} frame */
  take(frame) {
    this.inbox.push(frame);
    this.#wake();
  }

  wake() {
    this.#wake();
  }
}

export class MemorySocket {
  readyState = 0;
  binaryType = "blob";
  /** @type {((event: { data: unknown }) => void) | null} */ onmessage = null;
  /** @type {(() => void) | null} */ onopen = null;
  /** @type {(() => void) | null} */ onerror = null;
  /** @type {((event: { code: number, reason: string }) => void) | null} */ onclose = null;

  /** @param {string} url */
  constructor(url) {
    this.url = url;
    this.far = new FarEnd(this);
  }

  get bufferedAmount() {
    return this.far.inbox.reduce((sum, frame) => sum + frame.length, 0);
  }

  open() {
    if (this.readyState !== 0) return;
    this.readyState = 1;
    this.onopen?.();
  }

  /** @param {Uint8Array | string} frame */
  send(frame) {
    if (this.readyState === 0) throw new Error("InvalidStateError");
    if (this.readyState === 1) this.far.take(frame);
  }

  /** @param {number} code */
  close(code) {
    if (code !== 1000 && !(code >= 3000 && code <= 4999)) throw new Error("InvalidAccessError");
    this.far.closedWith = code;
    this.shut(1006, "");
  }

  /** @param {number} code @param {string} reason */
  shut(code, reason) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.far.wake();
    this.onclose?.({ code, reason });
  }
}

/** @typedef {(far: FarEnd) => void | Promise<void>} Serve */

/**
 * A class of sockets whose connections are served by this; `"refused"` where there is no upgrade, `"stuck"` where
 * there is never an answer. The connection is closed when it returns.
 *
 * @param {(url: URL) => Serve | "refused" | "stuck"} accept
 */
export function socketClass(accept) {
  class Socket extends MemorySocket {
    /** @param {string} url */
    constructor(url) {
      super(url);
      queueMicrotask(async () => {
        const serve = accept(this.far.url);
        if (serve === "stuck") return;
        if (serve === "refused") return this.shut(1006, "");
        this.open();
        try {
          await serve(this.far);
        } catch (error) {
          if (!this.far.isClosed) throw error;
        }
        this.far.close();
      });
    }
  }
  return /** @type {typeof WebSocket} */ (/** @type {unknown} */ (Socket));
}

/**
 * A server that does one of these for each connection in turn.
 * @param {...(Serve | "refused" | "stuck")} connections
 */
export function script(...connections) {
  return socketClass(() => connections.shift() ?? "refused");
}
