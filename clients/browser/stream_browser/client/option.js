// What a client can be told, and what it tells: types only.

/** @typedef {import("./error.js").StreamError} StreamError */
/** @typedef {import("./message.js").Init} Init */
/** @typedef {import("./mending.js").ConnectionChange} ConnectionChange */
/** @typedef {import("./timeline.js").SessionEvent} SessionEvent */

/**
 * @typedef {object} ClientOptions
 * @property {string | (() => string | Promise<string>)} [token]  goes into the address; a function is asked anew for
 *   each connection, as tokens last a minute
 * @property {import("./mending.js").ReconnectPolicy | false} [reconnect]  how hard to try; false: never
 * @property {number} [maxBufferBytes]  audio kept that may have to be sent again, and audio that waits to be sent: each
 *   up to so much (16 MiB)
 * @property {number} [openTimeoutSec]  for the token, for connecting and for `ready` (10)
 * @property {typeof WebSocket} [WebSocket]  another implementation
 */

/** @typedef {Omit<Init, "type" | "session_id" | "resume_token" | "last_seq" | "acks"> & ClientOptions} StreamOptions */

/**
 * The types of the events, by name.
 * @typedef {{ [Type in SessionEvent["type"]]: CustomEvent<Extract<SessionEvent, { type: Type }>> } & {
 *   connection: CustomEvent<ConnectionChange>, error: CustomEvent<StreamError> }} StreamEventMap
 */

export {};
