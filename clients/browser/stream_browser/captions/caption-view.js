/**
 * The captions that are read while people speak: the newest segments from the bottom up, the stable part distinct from
 * the rest, a line for each speaker. It is told rows, and knows no events. Text is changed in place, and only where it
 * differs.
 */

/**
 * @typedef {object} Row
 * @property {number} key
 * @property {{ name: string, color: number, text: string }[]} parts what is stable; `name`: of who speaks, empty where
 *   nobody is told apart
 * @property {string} unstable goes on behind the last part
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
  /** @type {Map<number, Line[]>} the oldest first; the lines of a row stand together */
  #rows = new Map();

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
    if (step.kind === "clear") this.clear();
    else if (step.kind === "drop") this.#drop(step.key);
    else if (step.kind === "show" || this.#rows.has(step.row.key)) this.#show(step.row);
    this.#nameOnce();
  }

  clear() {
    for (const key of [...this.#rows.keys()]) this.#drop(key);
    delete this.#root.dataset.speakers;
  }

  /** @param {Row} row */
  #show({ key, parts, unstable, language }) {
    if (!unstable && parts.every(({ text }) => !text)) return;
    const lines = this.#rows.get(key) ?? this.#begin(key);
    while (lines.length > parts.length) lines.pop()?.element.remove();
    for (const [at, { name, color, text }] of parts.entries()) {
      const line = (lines[at] ??= this.#append(lines.at(-1)));
      const rest = at === parts.length - 1 ? unstable : "";
      if (line.stable.data !== text) line.stable.data = text;
      if (line.unstable.data !== rest) line.unstable.data = rest;
      if (line.who.textContent !== name) line.who.textContent = name;
      if (name) line.element.dataset.speaker = String(color);
      if (name) this.#root.dataset.speakers = ""; // room for their bars, also beside what is nobody's yet
      if (language && language !== "auto" && line.element.lang !== language) line.element.lang = language;
    }
  }

  /** @param {number} key */
  #drop(key) {
    for (const { element } of this.#rows.get(key) ?? []) element.remove();
    this.#rows.delete(key);
  }

  /** @param {number} key @returns {Line[]} */
  #begin(key) {
    /** @type {Line[]} */
    const lines = [];
    this.#rows.set(key, lines);
    for (const oldest of this.#rows.keys()) {
      if (this.#rows.size <= this.#most) break;
      this.#drop(oldest);
    }
    return lines;
  }

  /** @param {Line | undefined} before the line of the same row that it comes behind @returns {Line} */
  #append(before) {
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
    if (before) before.element.after(element);
    else this.#root.append(element);
    return line;
  }

  /** Who goes on speaking is not named again. */
  #nameOnce() {
    let before = "";
    for (const { element, who } of [...this.#rows.values()].flat()) {
      const name = who.textContent ?? "";
      element.toggleAttribute("data-continues", name !== "" && name === before);
      before = name || before;
    }
  }
}
