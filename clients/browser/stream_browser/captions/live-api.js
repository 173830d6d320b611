/**
 * What the caption page asks of the server over HTTP: which models there are, and a token for each connection.
 *
 * Where the server asks for a key, somebody is asked for one, once for all that wait for it; the key goes into headers
 * only, and a token that lasts a minute into the address of the WebSocket. Addresses are relative to the page.
 */

import { StreamError } from "../client/index.js";

/** @typedef {{ id: string, languages: string[], description: string }} Model */

export class LiveApi {
  #base;
  #key;
  #token;
  #askKey;
  /** @type {Promise<string | null> | null} */
  #asking = null;
  #isOpen = false; // the server has said that it asks for no key

  /**
   * @param {object} options
   * @param {string} options.base address of the page
   * @param {string} options.key empty for none
   * @param {string} [options.token] made elsewhere; wins over the key
   * @param {(refused: string) => Promise<string | null>} options.askKey
   */
  constructor({ base, key, token = "", askKey }) {
    this.#base = base;
    this.#key = key;
    this.#token = token;
    this.#askKey = askKey;
  }

  /** The address of live sessions. */
  get socketUrl() {
    const url = new URL("ws", this.#base);
    url.protocol = url.protocol.replace("http", "ws");
    return url.href;
  }

  /** @returns {Promise<Model[]>} */
  async models() {
    if (this.#token) return []; // a token opens live sessions, and nothing else
    return (await this.#json("GET", "v1/models")).data;
  }

  /**
   * For one connection; empty where the server asks for none.
   *
   * @throws {StreamError}
   */
  async token() {
    if (this.#token) return this.#token;
    // Asked first, as the other question would leave a failed request in the console of every visitor of an open server.
    if (!this.#key && !this.#isOpen) await this.models();
    if (this.#isOpen) return "";
    try {
      return /** @type {string} */ ((await this.#json("POST", "v1/tokens")).token);
    } catch (error) {
      if (!(error instanceof StreamError) || error.code !== "CONFLICT") throw error;
      this.#isOpen = true;
      return "";
    }
  }

  /** A connection was refused: what is known of the server's keys is out of date. */
  forgetOpen() {
    this.#isOpen = false;
  }

  /** @param {string} method @param {string} path @returns {Promise<any>} */
  async #json(method, path) {
    for (;;) {
      const key = this.#key;
      const response = await this.#fetch(method, path, key);
      const body = await response.json().catch(() => null);
      if (response.ok) {
        this.#isOpen ||= key === "";
        return body;
      }
      const message = body?.error?.message ?? `The server answered with status ${response.status}.`;
      // 403: the key is known, and not for this.
      const isRefused = response.status === 401 || (response.status === 403 && key);
      if (!isRefused) throw new StreamError(codeOf(response.status), message, retryAfter(response));
      if (key !== this.#key) continue; // somebody else has asked meanwhile
      this.#asking ??= this.#askKey(key).finally(() => (this.#asking = null));
      const given = await this.#asking;
      if (!given) throw new StreamError("AUTH_FAILED", "This server asks for an API key.");
      this.#key = given;
    }
  }

  /** @param {string} method @param {string} path @param {string} key */
  async #fetch(method, path, key) {
    try {
      return await fetch(new URL(path, this.#base), {
        method,
        headers: key ? { Authorization: `Bearer ${key}` } : {},
        cache: "no-store",
        signal: AbortSignal.timeout(10_000),
      });
    } catch (error) {
      throw new StreamError("CONNECTION_FAILED", "The server cannot be reached.", undefined, error);
    }
  }
}

/** The protocol's code, as far as the page tells them apart. @param {number} status */
function codeOf(status) {
  if (status === 409) return "CONFLICT";
  if (status === 403) return "AUTH_FAILED";
  if (status === 429) return "RATE_LIMITED";
  return status < 500 ? "PROTOCOL_ERROR" : "CONNECTION_FAILED"; // those of 500 and more may pass
}

/** @param {Response} response */
function retryAfter(response) {
  return Number(response.headers.get("Retry-After")) || undefined;
}
