/**
 * The newest captions as rows, for everybody who shows them: the page, the overlay, and overlays in other windows of
 * this browser, to which they go by a BroadcastChannel. It makes rows of changes, and shows nothing itself.
 */

/** @typedef {import("./caption-view.js").Row} Row */
/** @typedef {import("./caption-state.js").Change} Change */
/** @typedef {import("./cast.js").Cast} Cast */
/** @typedef {{ kind: "show" | "revise", row: Row } | { kind: "drop", key: number } | { kind: "clear" }} Step `revise`:
 *   only where it is still shown */
/** @typedef {{ apply: (step: Step) => void }} Screen */

const CHANNEL = "stream-server.captions";
/** So many rows are remembered, for who comes later. */
export const ROWS = 8;

/** @param {Change} change @param {Cast} cast @param {number} channels @returns {Step[]} */
export function stepsOf(change, cast, channels) {
  switch (change.kind) {
    case "gone":
      return [{ kind: "drop", key: change.id }];
    case "live": {
      const { id, channel, stable, unstable } = change.live;
      const { name, color } = cast.atChannel(channel, channels) ?? { name: "", color: 0 };
      return [{ kind: "show", row: { key: id, parts: [{ name, color, text: stable }], unstable, language: "" } }];
    }
    case "final":
      return [{ kind: "show", row: rowOf(change.final, cast) }];
    case "revised":
      return change.finals.slice(-ROWS).map((final) => ({ kind: "revise", row: rowOf(final, cast) }));
  }
}

/** @param {import("./caption-state.js").Final} final @param {Cast} cast @returns {Row} */
function rowOf(final, cast) {
  const parts = cast.partsOf(final).map(({ who, text }) => ({ name: who?.name ?? "", color: who?.color ?? 0, text }));
  return { key: final.id, parts, unstable: "", language: final.language };
}

export class CaptionFeed {
  #screens;
  #channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(CHANNEL);
  /** @type {Map<number, Row>} */
  #rows = new Map();

  /** @param {Screen[]} screens */
  constructor(screens) {
    this.#screens = screens;
    this.#channel?.addEventListener("message", ({ data }) => {
      if (data?.kind === "hello") this.#repeat();
    });
  }

  /** @param {Step} step */
  apply(step) {
    if (step.kind === "clear") this.#rows.clear();
    else if (step.kind === "drop") this.#rows.delete(step.key);
    else if (step.kind === "show" || this.#rows.has(step.row.key)) this.#keep(step.row);
    for (const screen of this.#screens) screen.apply(step);
    this.#channel?.postMessage(step);
  }

  /** @param {Row} row */
  #keep(row) {
    this.#rows.set(row.key, row);
    for (const oldest of this.#rows.keys()) {
      if (this.#rows.size <= ROWS) break;
      this.#rows.delete(oldest);
    }
  }

  #repeat() {
    this.#channel?.postMessage({ kind: "clear" });
    for (const row of this.#rows.values()) this.#channel?.postMessage({ kind: "show", row });
  }
}

/** What another window of this browser shows. @param {Screen} screen */
export function mirror(screen) {
  const channel = new BroadcastChannel(CHANNEL);
  channel.addEventListener("message", ({ data }) => {
    if (data?.kind !== "hello") screen.apply(data);
  });
  channel.postMessage({ kind: "hello" });
}
