// The beginning of a connection: connect, say who we are, wait for `ready`. It does not know what comes after.
//
// A browser does not tell a page why an upgrade was refused. So where no new session can be opened, the server is asked
// how it is (`/readyz`, beside the WebSocket), to say something better than "failed".

import { Closed, COMING_BACK, Connection } from "./connection.js";
import { StreamError } from "./error.js";

/** @typedef {import("./message.js").Ready} Ready */
/** @typedef {import("./message.js").StreamEvent} StreamEvent */
/** @typedef {Record<string, unknown> & { session_id?: string }} InitFields */

const ASK_TIMEOUT_MS = 3000;

export class Door {
  #url;
  #token;
  #WebSocket;
  #timeoutSec;

  /** Attempts that got no answer in time, and may still arrive at the server. */
  abandoned = 0;

  /**
   * @param {string | URL} url
   * @param {string | (() => string | Promise<string>) | undefined} token
   * @param {typeof WebSocket | undefined} socketClass
   * @param {number} timeoutSec  for the token, for connecting and for `ready`
   */
  constructor(url, token, socketClass, timeoutSec) {
    this.#url = url;
    this.#token = token;
    this.#WebSocket = socketClass;
    this.#timeoutSec = timeoutSec;
  }

  /**
   * A connection to a session.
   *
   * @param {InitFields} init
   * @param {AbortSignal} signal  whose reason is thrown
   * @returns {Promise<{ connection: Connection, ready: Ready }>}
   * @throws {StreamError} refused, unreachable, or no server of this protocol
   */
  async open(init, signal) {
    /** @type {Connection | undefined} */
    let connection;
    let isSent = false;
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(failed(`no answer from ${this.#url} in time`)), this.#timeoutSec * 1000);
    const stop = () => limit.abort(signal.reason);
    signal.addEventListener("abort", stop);
    const given = new Promise((_, reject) => {
      limit.signal.addEventListener("abort", () => reject(limit.signal.reason));
      if (signal.aborted) stop();
    });
    const enter = async () => {
      const address = await this.#address(init.session_id);
      limit.signal.throwIfAborted();
      connection = this.#connect(address);
      try {
        await connection.opened;
      } catch (error) {
        limit.signal.throwIfAborted();
        throw init.session_id === undefined ? await this.#refusal(address) : failed(String(error));
      }
      connection.send(JSON.stringify(init));
      isSent = true;
      const event = parse(await connection.receive());
      if (event?.type === "error") throw new StreamError(event.code, event.message, event.retry_after);
      if (event?.type !== "ready") throw failed(`${this.#url} does not speak this protocol`);
      return { connection, ready: event };
    };
    try {
      return await /** @type {ReturnType<typeof enter>} */ (Promise.race([enter(), given]));
    } catch (error) {
      if (limit.signal.aborted && isSent) this.abandoned++;
      connection?.close(signal.aborted ? 1000 : COMING_BACK);
      if (error instanceof Closed) throw failed(`the server closed the connection: ${error.message}`);
      throw error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    }
  }

  /**
   * With the token, and the session that is resumed: a full server lets in who has a place already.
   * @param {string | undefined} sessionId
   */
  async #address(sessionId) {
    let url;
    try {
      url = new URL(this.#url, globalThis.location?.href);
    } catch {
      throw failed(`"${this.#url}" is not an address; one of a server looks like wss://HOST/ws`);
    }
    url.protocol = url.protocol.replace("http", "ws");
    let token;
    try {
      token = typeof this.#token === "function" ? await this.#token() : this.#token;
    } catch (error) {
      if (error instanceof StreamError) throw error; // who makes tokens knows best why there is none
      throw failed(`there is no token: ${error instanceof Error ? error.message : error}`, error);
    }
    if (token) url.searchParams.set("token", token);
    if (sessionId !== undefined) url.searchParams.set("session_id", sessionId);
    return url;
  }

  /** @param {URL} address */
  #connect(address) {
    if (this.#WebSocket === undefined) {
      throw failed("there is no WebSocket here; Node has one from version 22 on, or pass one as the option WebSocket");
    }
    try {
      return new Connection(new this.#WebSocket(address.href));
    } catch (error) {
      const hint = address.protocol === "ws:" ? "; a page that came over https can only use wss://" : "";
      throw failed(`${this.#url} cannot be opened${hint}`, error);
    }
  }

  /** @param {URL} address */
  async #refusal(address) {
    const url = new URL("readyz", address);
    url.protocol = url.protocol.replace("ws", "http");
    const asking = fetch(url, { cache: "no-store", signal: AbortSignal.timeout(ASK_TIMEOUT_MS) });
    const response = await asking.catch(() => undefined);
    if (!response) return failed(`no server answers at ${url.host}, or it is not for this page (allowed_origins)`);
    const { sessions, max_sessions } = Object(await response.json().catch(() => undefined));
    const retryAfter = Number(response.headers.get("Retry-After")) || undefined;
    const when = retryAfter ? `in ${retryAfter} s` : "later";
    if (response.status === 503) {
      return new StreamError("SERVER_DRAINING", `the server is not ready; try ${when}`, retryAfter);
    }
    if (sessions >= max_sessions || (response.ok && retryAfter)) {
      return new StreamError("CAPACITY_FULL", `the server is full; try ${when}`, retryAfter);
    }
    return failed(`${this.#url} took no WebSocket; its path is usually /ws, and proxies must pass WebSockets on`);
  }
}

/**
 * What the server said; undefined where it is no event.
 * @param {unknown} message
 * @returns {StreamEvent | undefined}
 */
export function parse(message) {
  try {
    const event = JSON.parse(/** @type {string} */ (message));
    return typeof event?.type === "string" ? event : undefined;
  } catch {
    return undefined;
  }
}

/** @param {string} message @param {unknown} [cause] */
function failed(message, cause) {
  return new StreamError("CONNECTION_FAILED", message, undefined, cause);
}
