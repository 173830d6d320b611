// The one exception of this client. It does not know the network.

/**
 * Why a stream ended early, or could not begin.
 *
 * `code` is one of the protocol's (`AUTH_FAILED`, `CAPACITY_FULL`, ...), or one of the client's own:
 * `CONNECTION_FAILED` (no connection could be made), `CONNECTION_LOST` (it broke, and could not be mended),
 * `BUFFER_FULL` (audio is made faster than the connection takes it), `EVENTS_NOT_READ` (an iteration that lags too far
 * behind), `CLOSED` (by `close()`).
 */
export class StreamError extends Error {
  /**
   * @param {string} code
   * @param {string} message  for people to read
   * @param {number} [retryAfter]  seconds to wait before trying again, where waiting helps
   * @param {unknown} [cause]
   */
  constructor(code, message, retryAfter, cause) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "StreamError";
    this.code = code;
    this.retryAfter = retryAfter;
  }
}
