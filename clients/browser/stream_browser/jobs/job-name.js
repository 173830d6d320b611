/**
 * What the files of earlier jobs were called. The server's list does not say, so this browser remembers: the last few
 * hundred names, by the ids of their jobs. Where storage is forbidden, it forgets them with the page.
 */

const PLACE = "stream-server.jobs";
const MOST = 300;

export class JobNames {
  #storage;
  /** @type {Map<string, string>} */
  #names = new Map();

  /** @param {Pick<Storage, "getItem" | "setItem"> | null} storage */
  constructor(storage) {
    this.#storage = storage;
    try {
      const kept = JSON.parse(storage?.getItem(PLACE) ?? "[]");
      this.#names = new Map(kept.filter(isPair));
    } catch {
      // unreadable: begin anew
    }
  }

  /** @param {string} id */
  get(id) {
    return this.#names.get(id) ?? "";
  }

  /** @param {string} id @param {string} name */
  set(id, name) {
    this.#names.delete(id);
    this.#names.set(id, name);
    for (const oldest of this.#names.keys()) {
      if (this.#names.size <= MOST) break;
      this.#names.delete(oldest);
    }
    this.#keep();
  }

  /** @param {string} id */
  delete(id) {
    if (this.#names.delete(id)) this.#keep();
  }

  #keep() {
    try {
      this.#storage?.setItem(PLACE, JSON.stringify([...this.#names]));
    } catch {
      // full or forbidden: the names are good for this visit
    }
  }
}

/** @param {unknown} entry */
function isPair(entry) {
  return Array.isArray(entry) && entry.length === 2 && entry.every((part) => typeof part === "string");
}
