/**
 * The transcript that survives a reload of its tab: text only, in the tab's session storage, one entry for each final,
 * and what its speakers are called. Bounded by what the storage takes: then the oldest quarter goes.
 */

/** @typedef {import("./caption-state.js").Final} Final */

const PREFIX = "stream-server.final.";
const NAMES = "stream-server.names";

export class Draft {
  #storage;

  /** @param {Storage | null} storage null where the browser forbids it */
  constructor(storage) {
    this.#storage = storage;
  }

  /** @returns {Final[]} in order of their numbers */
  read() {
    return this.#keys().flatMap((key) => {
      try {
        return [JSON.parse(this.#storage?.getItem(key) ?? "")];
      } catch {
        return []; // not written by us
      }
    });
  }

  /** @param {Final} final */
  add(final) {
    const text = JSON.stringify(final);
    for (let attempt = 0; attempt < 2; attempt++) {
      try {
        this.#storage?.setItem(PREFIX + String(final.id).padStart(8, "0"), text);
        return;
      } catch {
        const keys = this.#keys(); // full
        for (const key of keys.slice(0, Math.ceil(keys.length / 4))) this.#storage?.removeItem(key);
      }
    }
  }

  /** @returns {[string, string][]} what speakers were called by somebody */
  get names() {
    try {
      const names = JSON.parse(this.#storage?.getItem(NAMES) ?? "{}");
      return Object.entries(names).filter(([, name]) => typeof name === "string");
    } catch {
      return []; // not written by us
    }
  }

  /** @param {[string, string][]} names */
  set names(names) {
    try {
      this.#storage?.setItem(NAMES, JSON.stringify(Object.fromEntries(names)));
    } catch {
      // full: they are there until the page is left
    }
  }

  clear() {
    for (const key of [...this.#keys(), NAMES]) this.#storage?.removeItem(key);
  }

  #keys() {
    const storage = this.#storage;
    if (!storage) return [];
    const keys = Array.from({ length: storage.length }, (_, index) => storage.key(index) ?? "");
    return keys.filter((key) => key.startsWith(PREFIX)).sort();
  }
}
