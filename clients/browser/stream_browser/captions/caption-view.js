/**
 * The captions that are read while people speak: the newest segments from the bottom up, the stable part distinct from
 * the rest. It is told rows, and knows no events. Text is changed in place, and only where it differs.
 */

/**
 * @typedef {object} Row
 * @property {number} key
 * @property {string} name of who speaks; empty where nobody is told apart
 * @property {number} color
 * @property {string} stable
 * @property {string} unstable
 * @property {string} language BCP 47, or empty
 */

/**
 * @typedef {object} Line
 * @property {HTMLElement} element
 * @property {HTMLElement} who
 * @property {Text} stable
 * @property {Text} unstable
 */

export class CaptionView {
  #root;
  #most;
  /** @type {Map<number, Line>} the oldest first */
  #lines = new Map();

  /**
   * @param {HTMLElement} root
   * @param {number} most rows that are kept
   */
  constructor(root, most) {
    this.#root = root;
    this.#most = most;
  }

  /** @param {import("./caption-feed.js").Step} step */
  apply(step) {
    if (step.kind === "show") this.#show(step.row);
    else if (step.kind === "drop") this.#drop(step.key);
    else this.clear();
  }

  clear() {
    for (const key of [...this.#lines.keys()]) this.#drop(key);
  }

  /** @param {Row} row */
  #show({ key, name, color, stable, unstable, language }) {
    if (!stable && !unstable) return;
    const line = this.#lines.get(key) ?? this.#append(key);
    if (line.stable.data !== stable) line.stable.data = stable;
    if (line.unstable.data !== unstable) line.unstable.data = unstable;
    if (line.who.textContent !== name) {
      line.who.textContent = name;
      line.element.dataset.speaker = String(color);
    }
    if (language && language !== "auto" && line.element.lang !== language) line.element.lang = language;
  }

  /** @param {number} key */
  #drop(key) {
    this.#lines.get(key)?.element.remove();
    this.#lines.delete(key);
  }

  /** @param {number} key */
  #append(key) {
    const element = document.createElement("p");
    element.className = "caption";
    element.dir = "auto";
    const [who, stable, unstable] = ["who", "stable", "unstable"].map((name) => {
      const span = document.createElement("span");
      span.className = name;
      return span;
    });
    const line = { element, who, stable: new Text(), unstable: new Text() };
    stable.append(line.stable);
    unstable.append(line.unstable);
    element.append(who, stable, unstable);
    this.#lines.set(key, line);
    this.#root.append(element);
    for (const oldest of this.#lines.keys()) {
      if (this.#lines.size <= this.#most) break;
      this.#drop(oldest);
    }
    return line;
  }
}
