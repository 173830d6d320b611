/**
 * The state of the connection, and how it is told: one word or two for the chip, a sentence for the line below where
 * there is something to say. Pure; times come in as arguments, in milliseconds.
 */

/**
 * @typedef {"idle" | "connecting" | "open" | "reconnecting" | "ended" | "failed"} Name
 * @typedef {{ chip: string, line: string, counter: string }} Words line changes with events, counter with every second
 */

export class ConnectionState {
  /** @type {Name} */
  name = "idle";
  #lostAt = 0;
  #attempt = 0;
  #waitingSec = 0; // audio that waited at the last report
  #reportedAt = 0;
  #line = "";

  /** @param {Exclude<Name, "reconnecting">} name */
  enter(name) {
    this.name = name;
    this.#line = "";
  }

  /**
   * What the client says of its connection.
   *
   * @param {{ state: string, attempt?: number, bufferedSec?: number }} change
   * @param {number} now
   */
  receive({ state, attempt, bufferedSec }, now) {
    if (state === "lost") {
      if (this.name !== "reconnecting") [this.#lostAt, this.#attempt, this.#waitingSec] = [now, 0, 0];
      this.name = "reconnecting";
      this.#attempt = attempt ?? this.#attempt + 1;
      this.#waitingSec = bufferedSec ?? (now - this.#lostAt) / 1000;
      this.#reportedAt = now;
      this.#line = "The connection is lost. What was said is kept and sent when it is back.";
    } else if (state === "resumed" || state === "restarted") {
      const after = this.#lostAt ? ` after ${seconds((now - this.#lostAt) / 1000)}` : "";
      this.name = "open";
      this.#lostAt = 0;
      this.#line =
        state === "resumed"
          ? `Connected again${after}. Nothing was lost.`
          : `Connected again${after}, in a new session: what was not final yet was sent once more.`;
    } else if (state === "open") {
      this.enter("open");
    }
  }

  /** What happened has been read. */
  forget() {
    if (this.name === "open") this.#line = "";
  }

  /** @param {number} now @returns {Words} */
  words(now) {
    const chip = CHIPS[this.name];
    if (this.name !== "reconnecting") return { chip, line: this.#line, counter: "" };
    const since = (now - this.#lostAt) / 1000;
    const waiting = this.#waitingSec + (now - this.#reportedAt) / 1000;
    const attempt = this.#attempt > 1 ? `, attempt ${this.#attempt}` : "";
    return { chip, line: this.#line, counter: `Since ${seconds(since)}${attempt}; ${seconds(waiting)} of audio wait.` };
  }
}

const CHIPS = Object.freeze({
  idle: "Ready",
  connecting: "Connecting",
  open: "Connected",
  reconnecting: "Reconnecting",
  ended: "Ended",
  failed: "Not connected",
});

/** @param {number} count */
function seconds(count) {
  return count < 1 ? "less than a second" : `${Math.round(count)} s`;
}
