/**
 * The newest captions as rows, for everybody who shows them: the page, the overlay, and overlays in other windows of
 * this browser, to which they go by a BroadcastChannel. It makes rows of changes, and shows nothing itself.
 */

/** @typedef {import("./caption-view.js").Row} Row */
/** @typedef {import("./caption-state.js").Change} Change */
/** @typedef {{ kind: "show", row: Row } | { kind: "drop", key: number } | { kind: "clear" }} Step */
/** @typedef {{ apply: (step: Step) => void }} Screen */

const CHANNEL = "stream-server.captions";
/** So many rows are remembered, for who comes later. */
export const ROWS = 8;

/** @param {Change} change @param {import("../shared/speaker.js").Speakers} speakers @param {number} channels @returns {Step} */
export function stepOf(change, speakers, channels) {
  if (change.kind === "gone") return { kind: "drop", key: change.id };
  const said = change.kind === "final" ? change.final : { ...change.live, channels };
  const { name = "", color = 0 } = speakers.of(said) ?? {};
  const { stable, unstable, language } =
    change.kind === "final"
      ? { stable: change.final.text, unstable: "", language: change.final.language }
      : { ...change.live, language: "" };
  return { kind: "show", row: { key: said.id, name, color, stable, unstable, language } };
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
    else {
      this.#rows.set(step.row.key, step.row);
      for (const oldest of this.#rows.keys()) {
        if (this.#rows.size <= ROWS) break;
        this.#rows.delete(oldest);
      }
    }
    for (const screen of this.#screens) screen.apply(step);
    this.#channel?.postMessage(step);
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
